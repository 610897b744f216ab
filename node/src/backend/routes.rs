//! Calls under way over one stream: who waits for each, and whether the other end may have read it.

use std::collections::HashMap;

use parking_lot::Mutex;
use roomcast_proto::api::{from_backend, to_backend};
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};

/// What comes back for a call.
#[derive(Debug)]
pub(super) struct Reply {
    /// The number by which whoever waits knows the call.
    pub(super) call: u64,
    pub(super) what: What,
}

/// See [`Reply`].
#[derive(Debug)]
pub(super) enum What {
    /// The backend's words.
    Message(from_backend::Message),
    /// The backend's window had no place in time.
    Overloaded,
    /// The backend is gone.
    Lost {
        /// It may have read the call.
        written: bool,
    },
}

/// Where replies go.
pub(super) type Replies = mpsc::Sender<Reply>;

/// Why a call was not opened; the backend surely has not read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unopened {
    /// Its window had no place in time.
    Overloaded,
    /// It is gone, or about to go.
    Gone,
}

impl From<Unopened> for What {
    fn from(unopened: Unopened) -> Self {
        match unopened {
            Unopened::Overloaded => Self::Overloaded,
            Unopened::Gone => Self::Lost { written: false },
        }
    }
}

/// Whether a backend must be told though nobody waits any more: what its state follows from. A
/// question or an event that was answered for it must not be handled late.
pub(super) fn is_told_anyway(message: &to_backend::Message) -> bool {
    use to_backend::Message;
    !matches!(message, Message::Admit(_) | Message::Event(_))
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Routes {
    inner: Mutex<Inner>,
    /// A call has ended.
    closed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// The last number that was given.
    last: u64,
    open: HashMap<u64, Route>,
    ended: bool,
}

#[derive(Debug)]
struct Route {
    /// The number of whoever waits.
    call: u64,
    replies: Replies,
    written: bool,
    /// Its place in the window.
    _place: Option<OwnedSemaphorePermit>,
}

impl Routes {
    /// A number for a call; `None` once the stream has ended.
    pub(super) fn open(
        &self,
        call: u64,
        replies: Replies,
        place: Option<OwnedSemaphorePermit>,
    ) -> Option<u64> {
        let mut inner = self.inner.lock();
        if inner.ended {
            return None;
        }
        inner.last += 1;
        let number = inner.last;
        let route = Route {
            call,
            replies,
            written: false,
            _place: place,
        };
        inner.open.insert(number, route);
        Some(number)
    }

    /// The call goes into the stream now; whether somebody still waits for it.
    pub(super) fn written(&self, number: u64) -> bool {
        let mut inner = self.inner.lock();
        let route = inner.open.get_mut(&number);
        route.map(|route| route.written = true).is_some()
    }

    /// Who waits for a call that goes on.
    pub(super) fn waiting(&self, number: u64) -> Option<(u64, Replies)> {
        let inner = self.inner.lock();
        let route = inner.open.get(&number)?;
        Some((route.call, route.replies.clone()))
    }

    /// Ends a call; who waited for it.
    pub(super) fn close(&self, number: u64) -> Option<(u64, Replies)> {
        let route = self.inner.lock().open.remove(&number)?;
        self.closed.notify_waiters();
        Some((route.call, route.replies))
    }

    /// The stream has ended: what was open is lost, and everybody who waited is told.
    pub(super) fn end(&self) {
        let lost: Vec<Route> = {
            let mut inner = self.inner.lock();
            inner.ended = true;
            inner.open.drain().map(|(_, route)| route).collect()
        };
        self.closed.notify_waiters();
        tokio::spawn(async move {
            for route in lost {
                let (call, written) = (route.call, route.written);
                let what = What::Lost { written };
                if route.replies.send(Reply { call, what }).await.is_err() {
                    tracing::trace!(call, "nobody waits for a call that was lost");
                }
            }
        });
    }

    /// Whether the stream has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.inner.lock().ended
    }

    /// Calls that are open.
    pub(super) fn count(&self) -> usize {
        self.inner.lock().open.len()
    }

    /// Waits until no call is open.
    pub(super) async fn idle(&self) {
        loop {
            let closed = self.closed.notified();
            tokio::pin!(closed);
            closed.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            closed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_open_at_the_end_is_lost_once_and_says_whether_it_was_written() {
        let routes = Routes::default();
        let (replies, mut came) = mpsc::channel(4);
        let numbers: Vec<u64> = (10..13)
            .map(|call| routes.open(call, replies.clone(), None).unwrap())
            .collect();
        assert_eq!(routes.close(numbers[1]).map(|(call, _)| call), Some(11));
        assert!(routes.close(numbers[1]).is_none(), "once");
        assert!(!routes.written(numbers[1]), "nobody waits");
        assert!(routes.written(numbers[2]));
        routes.end();
        let mut fates = Vec::new();
        for _ in 0..2 {
            let reply = came.recv().await.unwrap();
            match reply.what {
                What::Lost { written } => fates.push((reply.call, written)),
                other => panic!("{other:?}"),
            }
        }
        fates.sort_unstable();
        assert_eq!(fates, [(10, false), (12, true)]);
        assert!(
            !routes.written(numbers[0]),
            "its client was told that it is not"
        );
        assert!(routes.open(1, replies, None).is_none(), "it has ended");
        routes.idle().await;
    }
}
