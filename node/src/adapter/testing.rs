//! What the tests of this floor share: sessions without a transport, sockets, events.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use roomcast_proto::socketio::Parser;

use super::socket::{CatchUps, Identity, LocalSocket};
use crate::engine::{Batch, Counters, Frames, OutboxLimits, SessionHandle, Sid, Written};
use crate::ids::{Entropy, Pid, Position, SocketId};
use crate::state::Event;

/// A session whose outbox takes `frames_max` frames and is never written.
pub(crate) fn session(frames_max: usize) -> SessionHandle {
    let limits = OutboxLimits {
        bytes_max: 1 << 20,
        frames_max,
    };
    let sid = Sid::generate(1, &Entropy::from_seed(1));
    SessionHandle::new(sid, limits, Arc::new(Counters::default()), None)
}

/// Takes what waits in a session's outbox; control frames are none.
pub(super) fn outbox(session: &SessionHandle) -> Vec<Arc<Frames>> {
    let mut batch = std::collections::VecDeque::new();
    session.outbox().try_take(&mut batch, 0);
    batch.into()
}

/// The texts of what waits in a session's outbox.
pub(crate) fn texts(session: &SessionHandle) -> Vec<String> {
    let frames = outbox(session);
    let text = |frames: &Arc<Frames>| String::from_utf8(frames.packets().0.to_vec()).unwrap();
    frames.iter().map(text).collect()
}

/// The id whose sixteen bytes are all `n`.
pub(super) fn id(n: u8) -> SocketId {
    SocketId([n; 16])
}

/// A transport that takes what it is told to.
pub(super) struct Reader {
    pub(super) session: SessionHandle,
    taken: Batch,
}

impl Reader {
    pub(super) fn new(session: SessionHandle) -> Self {
        let taken = Batch::new();
        Self { session, taken }
    }

    /// Writes up to so many frames out: their texts.
    pub(super) fn read(&mut self, count: usize) -> Vec<String> {
        let mut read = Vec::new();
        while read.len() < count {
            if self.taken.is_empty() && !self.session.outbox().try_take(&mut self.taken, 0) {
                break;
            }
            let frames = self.taken.pop_front().unwrap();
            let bytes = frames.len();
            self.session.outbox().written(Written { frames: 1, bytes });
            read.push(String::from_utf8(frames.packets().0.to_vec()).unwrap());
        }
        read
    }
}

/// Notes where catch-ups begin, and runs none.
#[derive(Debug, Default)]
pub(super) struct Begun {
    pub(super) starts: Mutex<Vec<Position>>,
    pub(super) fanned_out: Mutex<Position>,
}

impl CatchUps for Begun {
    fn fanned_out(&self) -> Position {
        *self.fanned_out.lock()
    }

    fn catch_up(&self, _socket: Arc<LocalSocket>, start: Position) {
        self.starts.lock().push(start);
    }
}

/// Socket `n` of namespace `/`, owned by incarnation 7, with recovery unless `n` is above 99.
pub(super) fn identity(n: u8) -> Identity {
    Identity {
        id: id(n),
        pid: Pid([n; 16]),
        namespace: "/".into(),
        identity: None,
        recoverable: n < 100,
        parser: Parser::Json,
        generation: 1,
        owner: 7,
        catch_ups: Arc::new(Begun::default()),
    }
}

/// A live socket from the log's beginning on, and its session.
pub(super) fn live(n: u8) -> (Arc<LocalSocket>, SessionHandle) {
    let session = session(1000);
    let socket = LocalSocket::live(identity(n), session.clone(), Position::ZERO);
    (Arc::new(socket), session)
}

/// Frames of any text.
pub(super) fn text(text: impl Into<String>) -> Arc<Frames> {
    Frames::text(Bytes::from(text.into()))
}

/// A logged event `["e"]` of namespace `/`.
pub(super) fn event(position: Position, rooms: &[&str], except: &[&str]) -> Event {
    let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
    Event {
        position,
        namespace: "/".into(),
        rooms: names(rooms),
        except: names(except),
        event: Bytes::from_static(br#"["e"]"#),
        attachments: Vec::new(),
        wall_ms: 0,
        request: None,
    }
}
