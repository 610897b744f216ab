//! What a socket wants to send and what it waits for: the bounded queue of packets, and the
//! pending acknowledgements. Pure.
//!
//! A packet leaves the queue at the moment it is handed to the transport, so at a cut it is
//! known of every emit whether it was surely not sent, or perhaps.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::error::{AckError, EmitError};
use crate::event::Args;

/// The answer to an emit, or why there is none.
pub(crate) type AckResult = Result<Args, AckError>;

/// One Socket.IO packet ready for the wire.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// The Engine.IO text packet.
    pub(crate) text: Bytes,
    /// The binary messages that follow it.
    pub(crate) attachments: Vec<Bytes>,
    /// What becomes of it at a cut.
    pub(crate) kind: OutgoingKind,
}

/// What becomes of a packet that was not sent when the connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutgoingKind {
    /// Waits for the next connection.
    Emit,
    /// The same, and an acknowledgement with this id is awaited.
    Request(u64),
    /// An answer to the server's event: of no use on another connection.
    Answer,
}

impl Outgoing {
    /// All its bytes.
    fn byte_count(&self) -> usize {
        self.text.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }

    /// The size of its largest message, without the Engine.IO type.
    pub(crate) fn message_bytes_max(&self) -> usize {
        let text = self.text.len().saturating_sub(1);
        let attachments = self.attachments.iter().map(Bytes::len);
        attachments.max().map_or(text, |bytes| bytes.max(text))
    }
}

/// The packets waiting to be sent.
#[derive(Debug)]
pub(crate) struct SendQueue {
    /// Oldest first.
    packets: VecDeque<Outgoing>,
    /// Sum of the packets' bytes.
    bytes: usize,
    /// The bound on the count.
    count_max: usize,
    /// The bound on `bytes`; one packet is accepted into an empty queue whatever its size.
    bytes_max: usize,
}

impl SendQueue {
    /// An empty queue.
    pub(crate) fn new(count_max: usize, bytes_max: usize) -> Self {
        Self {
            packets: VecDeque::new(),
            bytes: 0,
            count_max,
            bytes_max,
        }
    }

    /// Appends a packet or refuses it.
    pub(crate) fn push(&mut self, packet: Outgoing) -> Result<(), EmitError> {
        let bytes = packet.byte_count();
        let fits = self.packets.is_empty() || self.bytes + bytes <= self.bytes_max;
        if !fits || self.packets.len() >= self.count_max {
            return Err(EmitError::BufferFull {
                count: self.packets.len(),
                bytes: self.bytes,
            });
        }
        self.bytes += bytes;
        self.packets.push_back(packet);
        Ok(())
    }

    /// Takes the oldest packet to hand it to the transport.
    pub(crate) fn pop(&mut self) -> Option<Outgoing> {
        let packet = self.packets.pop_front()?;
        self.bytes -= packet.byte_count();
        Some(packet)
    }

    /// Takes the emit with ack `id` back; `false` if it was sent already.
    pub(crate) fn take_back(&mut self, id: u64) -> bool {
        let count = self.packets.len();
        self.retain(|kind| kind != OutgoingKind::Request(id));
        self.packets.len() < count
    }

    /// Drops the answers, which belong to the connection that is gone.
    pub(crate) fn drop_answers(&mut self) {
        self.retain(|kind| kind != OutgoingKind::Answer);
    }

    /// Drops everything: the socket is disconnected for good.
    pub(crate) fn clear(&mut self) {
        self.packets.clear();
        self.bytes = 0;
    }

    fn retain(&mut self, keep: impl Fn(OutgoingKind) -> bool) {
        let bytes = &mut self.bytes;
        self.packets.retain(|packet| {
            let is_kept = keep(packet.kind);
            if !is_kept {
                *bytes -= packet.byte_count();
            }
            is_kept
        });
    }
}

/// The acknowledgements that a socket waits for. Bounded by the application: each one is an
/// `AckPending` that it holds.
#[derive(Debug, Default)]
pub(crate) struct PendingAcks {
    /// By ack id.
    pending: HashMap<u64, Pending>,
    /// The id of the next emit; never reused, so an answer that is late finds nobody.
    next_id: u64,
}

/// One awaited acknowledgement.
#[derive(Debug)]
struct Pending {
    /// Whether the emit was handed to a transport.
    is_sent: bool,
    /// Where the answer goes.
    reply: oneshot::Sender<AckResult>,
}

impl PendingAcks {
    /// An id for an emit, and where its answer will come.
    pub(crate) fn register(&mut self) -> (u64, oneshot::Receiver<AckResult>) {
        let id = self.next_id;
        self.next_id += 1;
        let (reply, answer) = oneshot::channel();
        let pending = Pending {
            is_sent: false,
            reply,
        };
        self.pending.insert(id, pending);
        (id, answer)
    }

    /// The emit was handed to the transport.
    pub(crate) fn sent(&mut self, id: u64) {
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.is_sent = true;
        }
    }

    /// Nobody waits any more.
    pub(crate) fn forget(&mut self, id: u64) {
        self.pending.remove(&id);
    }

    /// Passes an answer on; one that nobody waits for is dropped.
    pub(crate) fn resolve(&mut self, id: u64, result: AckResult) {
        if let Some(pending) = self.pending.remove(&id) {
            // The receiver may have gone in this instant; then nobody waits.
            drop(pending.reply.send(result));
        }
    }

    /// The connection is gone: the outcome of what was sent is unknown, the rest waits.
    pub(crate) fn cut(&mut self) {
        let sent: Vec<u64> = self
            .pending
            .iter()
            .filter_map(|(id, pending)| pending.is_sent.then_some(*id))
            .collect();
        for id in sent {
            self.resolve(id, Err(AckError::UnknownOutcome));
        }
    }

    /// The socket is disconnected for good: nothing waits any more.
    pub(crate) fn close(&mut self) {
        self.cut();
        for (_, pending) in self.pending.drain() {
            drop(pending.reply.send(Err(AckError::Closed)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: OutgoingKind, bytes: usize) -> Outgoing {
        Outgoing {
            text: Bytes::from(vec![b'4'; bytes]),
            attachments: Vec::new(),
            kind,
        }
    }

    #[test]
    fn the_queue_refuses_beyond_count_and_bytes() {
        let mut queue = SendQueue::new(2, 100);
        queue.push(packet(OutgoingKind::Emit, 500)).unwrap();
        assert!(queue.push(packet(OutgoingKind::Emit, 1)).is_err());
        queue.pop().unwrap();
        queue.push(packet(OutgoingKind::Emit, 50)).unwrap();
        queue.push(packet(OutgoingKind::Emit, 50)).unwrap();
        let refused = queue.push(packet(OutgoingKind::Emit, 0));
        assert_eq!(
            refused,
            Err(EmitError::BufferFull {
                count: 2,
                bytes: 100
            })
        );
    }

    #[test]
    fn only_an_unsent_emit_is_taken_back() {
        let mut queue = SendQueue::new(9, 100);
        queue.push(packet(OutgoingKind::Request(1), 10)).unwrap();
        queue.push(packet(OutgoingKind::Request(2), 10)).unwrap();
        queue.pop().unwrap();
        assert!(!queue.take_back(1));
        assert!(queue.take_back(2));
        assert_eq!((queue.packets.len(), queue.bytes), (0, 0));
    }

    #[test]
    fn answers_do_not_survive_their_connection_and_emits_do() {
        let mut queue = SendQueue::new(9, 100);
        queue.push(packet(OutgoingKind::Answer, 10)).unwrap();
        queue.push(packet(OutgoingKind::Emit, 10)).unwrap();
        queue.drop_answers();
        assert_eq!(queue.pop().unwrap().kind, OutgoingKind::Emit);
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn a_cut_settles_what_was_sent_and_leaves_the_rest() {
        let mut acks = PendingAcks::default();
        let (sent, mut sent_answer) = acks.register();
        let (unsent, mut unsent_answer) = acks.register();
        acks.sent(sent);
        acks.cut();
        let answer = sent_answer.try_recv().unwrap();
        assert_eq!(answer, Err(AckError::UnknownOutcome));
        assert!(unsent_answer.try_recv().is_err());
        acks.resolve(unsent, Ok(Args::new()));
        assert_eq!(unsent_answer.try_recv().unwrap(), Ok(Args::new()));
    }
}
