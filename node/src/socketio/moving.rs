//! A client whose session moves between nodes: what the old node gives up, and how the new one goes
//! on. Each socket is a resume whose offset the server itself knows; its client notices nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use prost::Message as _;
use roomcast_proto::command::{self, Resume, op::Kind, resume};
use roomcast_proto::engineio::Messages;
use roomcast_proto::peer::{MovedClient, MovedPacket, MovedSocket, moved_client::Pair};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::client::{Client, Clients};
use super::connect::{Applicant, Connecting};
use super::dispatch::Slot;
use super::socket::Socket;
use crate::adapter::{Attached, Frozen, Opening, Parting};
use crate::engine::moving::{Adopted, Departed, Left};
use crate::engine::{CloseReason, Handshake, SessionHandle};
use crate::ids::Pid;
use crate::limits;

impl Client {
    /// Waits until nothing is under way for any socket, then stops them all.
    pub(super) async fn leave(&mut self) -> Option<Departed> {
        while !self.slots.all().iter().all(|slot| slot.is_quiet()) {
            tokio::time::sleep(limits::MOVE_SETTLE_STEP).await;
        }
        let partial = self.partial()?;
        let mut left = LeftSockets::default();
        let mut moved = Vec::new();
        let slots = self.slots.all();
        for slot in slots.iter().filter(|slot| !slot.is_over()) {
            let socket = slot.socket()?;
            let Some(frozen) = socket.local.freeze(socket.group.fanned_out()) else {
                if !left.sockets.is_empty() {
                    // Something began between two sockets: the stopped ones have no way back.
                    self.session.close(CloseReason::Fenced);
                }
                return None;
            };
            moved.push(moved_socket(&socket, frozen));
            left.sockets.push(socket);
        }
        for slot in slots {
            slot.end(Parting::Away, CloseReason::Moved.disconnect_reason());
        }
        let mut client = handshake_to_wire(&self.handshake);
        client.parser = self.decoder.parser().name().to_owned();
        client.partial = partial;
        client.sockets = moved;
        Some(Departed {
            state: client.encode_to_vec().into(),
            left: Box::new(left),
        })
    }

    /// The packet whose attachments are due, if any; the outer `None` when it cannot be told.
    fn partial(&self) -> Option<Option<MovedPacket>> {
        if !self.decoder.is_pending() {
            return Some(None);
        }
        let Messages { text, binary } = self.decoder.partial()?;
        let attachments = binary;
        Some(Some(MovedPacket { text, attachments }))
    }

    /// Puts the packet whose attachments are due together again.
    fn assemble(&mut self, partial: MovedPacket) -> Option<()> {
        self.decoder.text(partial.text).ok()?;
        for attachment in partial.attachments {
            self.decoder.binary(attachment).ok()?;
        }
        Some(())
    }
}

/// Sockets that were stopped here, until they are in place elsewhere.
#[derive(Debug, Default)]
struct LeftSockets {
    sockets: Vec<Socket>,
}

impl Left for LeftSockets {
    fn taken(mut self: Box<Self>) {
        self.sockets.clear();
    }
}

impl Drop for LeftSockets {
    fn drop(&mut self) {
        for socket in &self.sockets {
            // Refused by apply if it is in place elsewhere nevertheless.
            socket.group.part(&socket.local, Parting::Away);
        }
    }
}

impl Clients {
    /// Goes on with a client that another node gave up.
    pub(super) fn adopt(self: &Arc<Self>, state: Bytes, session: SessionHandle) -> Option<Adopted> {
        let moved = MovedClient::decode(state).ok()?;
        let mut client = Client::new(self, handshake_from_wire(&moved)?, session);
        if moved.parser != client.decoder.parser().name() {
            return None;
        }
        if let Some(partial) = moved.partial {
            client.assemble(partial)?;
        }
        let mut placed = Vec::with_capacity(moved.sockets.len());
        for socket in moved.sockets {
            let handler = self.namespaces.find(&socket.namespace)?;
            let connecting = client.connecting(&socket.namespace, handler);
            let (place, is_placed) = oneshot::channel();
            placed.push(is_placed);
            tokio::spawn(connecting.arrive(socket, place));
        }
        let in_place = async move {
            for is_placed in placed {
                if !is_placed.await.unwrap_or(false) {
                    return false;
                }
            }
            true
        };
        Some(Adopted {
            handler: Box::new(client),
            in_place: Box::pin(in_place),
        })
    }
}

impl Connecting {
    /// Resumes a socket that moved here; says whether it is in place before its handler runs.
    async fn arrive(self, socket: MovedSocket, place: oneshot::Sender<bool>) {
        let (attached, group) = self.resume_moved(socket).await;
        let placed = match attached {
            Attached::Socket { socket, recovered } => Some((socket, group, recovered)),
            other => {
                tracing::debug!(?other, "a socket that moved cannot go on here");
                None
            }
        };
        if place.send(placed.is_some()).is_err() {
            tracing::trace!("the session ended before its sockets were in place");
        }
        match placed {
            Some(placed) => self.in_place(placed).await,
            None => self.slot.fail(),
        }
    }

    async fn resume_moved(&self, moved: MovedSocket) -> (Attached, Arc<crate::adapter::Group>) {
        let pid = Pid(<[u8; 16]>::try_from(&moved.pid[..]).unwrap_or_default());
        let resume = Resume {
            pid: moved.pid,
            namespace: moved.namespace,
            identity: moved.identity.clone(),
            offset: Some(resume::Offset::Known(command::Offset {
                epoch: moved.epoch,
                index: moved.index,
                op: moved.op,
            })),
            moved: true,
            subscriber: None,
            manual: false,
        };
        let applicant = Applicant {
            identity: moved.identity,
            data: Bytes::new(),
            recoverable: moved.recoverable,
            subscriber: None,
            manual: false,
        };
        let opening = Opening::Moved { asked: moved.asked };
        let attach = |reply| self.attach_of(&applicant, pid, None, opening.clone(), reply);
        let deadline = Instant::now() + limits::OPERATION_DEADLINE;
        self.until(deadline, &Kind::Resume(resume), attach).await
    }
}

fn moved_socket(socket: &Socket, frozen: Frozen) -> MovedSocket {
    let local = &socket.local;
    MovedSocket {
        namespace: local.namespace.to_string(),
        pid: local.pid.0.to_vec().into(),
        identity: local.identity.as_deref().map(str::to_owned),
        recoverable: local.recoverable,
        epoch: socket.group.epoch(),
        index: frozen.delivered.index,
        op: frozen.delivered.op,
        asked: frozen.asked,
    }
}

fn handshake_to_wire(handshake: &Handshake) -> MovedClient {
    let query = handshake.query.iter().map(|(name, value)| Pair {
        name: name.clone(),
        value: Bytes::copy_from_slice(value.as_bytes()),
    });
    let headers = handshake.headers.iter().map(|(name, value)| Pair {
        name: name.as_str().to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
    });
    MovedClient {
        query: query.collect(),
        headers: headers.collect(),
        remote: handshake.remote.to_string(),
        ..MovedClient::default()
    }
}

fn handshake_from_wire(client: &MovedClient) -> Option<Handshake> {
    let remote: SocketAddr = client.remote.parse().ok()?;
    let mut headers = HeaderMap::new();
    for Pair { name, value } in &client.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(value).ok()?);
    }
    let text = |value: &Bytes| String::from_utf8(value.to_vec()).ok();
    let query = client.query.iter();
    let query: Option<Vec<_>> = query
        .map(|pair| Some((pair.name.clone(), text(&pair.value)?)))
        .collect();
    Some(Handshake::new(query?, &headers, remote))
}

impl Slot {
    /// Whether nothing is under way that only this node can finish.
    fn is_quiet(&self) -> bool {
        self.is_over() || self.is_idle() && self.socket().is_some_and(|s| s.local.is_quiet())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_comes_over_the_wire_as_it_was() {
        let mut headers = HeaderMap::new();
        headers.append("cookie", HeaderValue::from_static("a=b"));
        headers.append("x-forwarded-for", HeaderValue::from_bytes(b"\xff").unwrap());
        let query = vec![
            ("token".to_owned(), "ü".to_owned()),
            (String::new(), String::new()),
        ];
        let handshake = Handshake::new(query, &headers, ([127, 0, 0, 1], 7).into());
        let came = handshake_from_wire(&handshake_to_wire(&handshake)).unwrap();
        assert_eq!(came.query, handshake.query);
        assert_eq!(came.headers, handshake.headers);
        assert_eq!(came.remote, handshake.remote);
        assert!(came.headers["cookie"].is_sensitive());
        let nowhere = MovedClient::default();
        assert!(handshake_from_wire(&nowhere).is_none(), "no address");
    }
}
