//! What the tests of this floor share: sessions without a transport, sockets, events.

use std::sync::Arc;

use bytes::Bytes;
use roomcast_proto::socketio::Parser;

use super::socket::{Identity, LocalSocket};
use crate::engine::{Counters, Frames, OutboxLimits, SessionHandle, Sid};
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
