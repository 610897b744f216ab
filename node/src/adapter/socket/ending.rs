//! A socket that the log ends: its client is told at once, whoever holds the socket as soon as it
//! listens.

use std::fmt;
use std::sync::{Arc, Weak};

use super::local::LocalSocket;
use crate::engine::Frames;

/// Who holds a socket on the floor above.
pub(crate) trait Holder: fmt::Debug + Send + Sync + 'static {
    /// The server disconnected the socket; with `close`, the connection that carries it as well.
    /// Called by the fan-out, which never waits.
    fn kicked(self: Arc<Self>, close: bool);
}

/// Whether the log has ended a socket, and who wants to hear of it.
#[derive(Debug, Default)]
pub(super) enum Ending {
    /// Neither.
    #[default]
    Open,
    /// It has not.
    Held(Weak<dyn Holder>),
    /// It has, and nobody has been told.
    Kicked { close: bool },
}

impl LocalSocket {
    /// From now on `holder` hears of the end; at once, if that has come.
    pub(crate) fn hold(&self, holder: Weak<dyn Holder>) {
        let before = {
            let mut ending = self.ending.lock();
            std::mem::replace(&mut *ending, Ending::Held(Weak::clone(&holder)))
        };
        if let (Ending::Kicked { close }, Some(holder)) = (before, holder.upgrade()) {
            holder.kicked(close);
        }
    }

    /// The log has ended it: nothing but the word of it is delivered from here on.
    pub(crate) fn kick(self: &Arc<Self>, close: bool) {
        self.answer_now(&Frames::of(self.parser.disconnect(&self.namespace)));
        self.stop();
        let before = {
            let mut ending = self.ending.lock();
            std::mem::replace(&mut *ending, Ending::Kicked { close })
        };
        if let Ending::Held(holder) = before
            && let Some(holder) = holder.upgrade()
        {
            holder.kicked(close);
        }
    }
}
