//! What the application's handles do to a socket; each call returns at once.

use roomcast_proto::socketio::Namespace;
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use crate::error::EmitError;
use crate::event::{Args, DisconnectReason, Notice, ResumeToken};
use crate::outgoing::{AckResult, Outgoing, OutgoingKind};
use crate::socket_core::state::{Phase, SocketCore};
use crate::wire;

/// The application's side.
impl SocketCore {
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub(crate) fn id(&self) -> Option<String> {
        self.lock().id.clone()
    }

    pub(crate) fn resume_token(&self) -> Option<ResumeToken> {
        self.lock().progress.token()
    }

    pub(crate) fn acknowledge(&self, offset: &str) {
        self.lock().progress.acknowledge(offset);
    }

    /// Replaces the application's members of the CONNECT payload, from the next CONNECT on.
    pub(crate) fn set_auth(&self, auth: Map<String, Value>) {
        let mut state = self.lock();
        for key in ["recovery", "subscriber"] {
            if let Some(value) = state.auth.remove(key)
                && !auth.contains_key(key)
            {
                state.auth.insert(key.to_owned(), value);
            }
        }
        state
            .auth
            .retain(|key, _| key == "recovery" || key == "subscriber");
        state.auth.extend(auth);
    }

    /// Asks for the namespace again.
    pub(crate) fn want(&self) {
        let mut state = self.lock();
        match state.phase {
            Phase::Idle => state.phase = Phase::Wanted,
            Phase::Leaving { .. } => state.phase = Phase::Leaving { then_connect: true },
            Phase::Wanted | Phase::Connecting { .. } | Phase::Connected => return,
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Leaves the namespace and ends the session.
    pub(crate) fn leave(&self) {
        let mut state = self.lock();
        state.progress.end();
        match state.phase {
            Phase::Connected => {
                state.phase = Phase::Leaving {
                    then_connect: false,
                };
                state.id = None;
                state.inbox.push_state(Notice::Disconnected {
                    reason: DisconnectReason::ClientDisconnect,
                });
            }
            Phase::Connecting { .. } => {
                state.outgoing.clear();
                state.phase = Phase::Leaving {
                    then_connect: false,
                };
            }
            Phase::Leaving { .. } => {
                state.phase = Phase::Leaving {
                    then_connect: false,
                };
            }
            Phase::Idle | Phase::Wanted => state.settle(Phase::Idle),
        }
        drop(state);
        self.readable.notify_one();
        self.wake.notify_one();
    }

    /// Queues an event without an ack.
    pub(crate) fn emit(&self, name: &str, args: Args) -> Result<(), EmitError> {
        let event = wire::event(&self.namespace, name, args, OutgoingKind::Emit)?;
        self.queue(event)
    }

    /// Queues an event with an ack.
    pub(crate) fn request(
        &self,
        name: &str,
        args: Args,
    ) -> Result<(u64, oneshot::Receiver<AckResult>), EmitError> {
        let (id, answer) = self.lock().acks.register();
        let queued = wire::event(&self.namespace, name, args, OutgoingKind::Request(id))
            .and_then(|event| self.queue(event));
        if let Err(error) = queued {
            self.forget(id);
            return Err(error);
        }
        Ok((id, answer))
    }

    fn queue(&self, packet: Outgoing) -> Result<(), EmitError> {
        self.check_size(&packet)?;
        let mut state = self.lock();
        if matches!(state.phase, Phase::Idle | Phase::Leaving { .. }) {
            return Err(EmitError::Disconnected);
        }
        state.outgoing.push(packet)?;
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Queues the answer to an event that came on connection `connection`.
    pub(crate) fn answer(&self, connection: u64, id: u64, args: Args) -> Result<(), EmitError> {
        let packet = wire::answer(&self.namespace, id, args);
        self.check_size(&packet)?;
        let mut state = self.lock();
        if state.connection != connection || state.phase != Phase::Connected {
            return Err(EmitError::StaleAck);
        }
        state.outgoing.push(packet)?;
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Nobody waits for ack `id` any more.
    pub(crate) fn forget(&self, id: u64) {
        self.lock().acks.forget(id);
    }

    /// Takes an emit back whose deadline has passed; `false` if it was sent.
    pub(crate) fn take_back(&self, id: u64) -> bool {
        self.lock().outgoing.take_back(id)
    }

    /// The next entry of the inbox. `Ok(None)`: nothing now. `Err`: nothing more ever.
    pub(crate) fn take_notice(&self) -> Result<Option<Notice>, Ended> {
        let mut state = self.lock();
        let was_full = state.inbox.is_full();
        let Some(entry) = state.inbox.pop() else {
            return if state.inbox.is_ended() {
                Err(Ended)
            } else {
                Ok(None)
            };
        };
        if let Some((session, offset)) = &entry.mark {
            state.progress.handed_over(*session, offset);
        }
        drop(state);
        if was_full {
            self.wake.notify_one();
        }
        Ok(Some(entry.notice))
    }

    /// Waits until the inbox may have something.
    pub(crate) async fn readable(&self) {
        self.readable.notified().await;
    }

    /// The application dropped its inbox: all counts as handed over from now on.
    pub(crate) fn close_inbox(&self) {
        let mut state = self.lock();
        for entry in state.inbox.close() {
            if let Some((session, offset)) = &entry.mark {
                state.progress.handed_over(*session, offset);
            }
        }
        drop(state);
        self.wake.notify_one();
    }
}

/// The inbox will not have anything more.
#[derive(Debug)]
pub(crate) struct Ended;
