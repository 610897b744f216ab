//! What one namespace remembers so that its session can be resumed: pid, offset, and what of
//! the coming replay is already in the inbox. Pure.
//!
//! The offset that a reconnection brings is that of the last event *handed to the application*,
//! never of one that only arrived. Events that arrived and still lie in the inbox are therefore
//! replayed; they are recognised by their offsets and not put there twice.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::event::ResumeToken;
use crate::options::Acknowledgement;

/// A number for each session that a namespace has had; a late hand-over of an event of an
/// earlier session must not move the offset of the present one.
pub(crate) type SessionNumber = u64;

/// The resume state of one namespace. It has no `Debug`: the pid must not reach a log.
pub(crate) struct Progress {
    /// The session's private id; `None` before the first CONNECT and without recovery.
    pid: Option<String>,
    /// Counts sessions that were not resumed.
    session: SessionNumber,
    /// The offset that the next CONNECT brings.
    offset: Option<Arc<str>>,
    /// Offsets in the inbox that a replay will repeat, oldest first. No longer than the inbox.
    replayed: VecDeque<Arc<str>>,
    /// Who moves `offset`.
    acknowledgement: Acknowledgement,
    /// A durable subscriber starts from its offset even in a new session, so it is kept.
    is_subscriber: bool,
}

impl Progress {
    /// Begins with the token of an earlier process, if there is one.
    pub(crate) fn new(
        token: Option<ResumeToken>,
        acknowledgement: Acknowledgement,
        is_subscriber: bool,
    ) -> Self {
        let (pid, offset) = match token {
            Some(token) => (token.pid, token.offset.map(Arc::from)),
            None => (None, None),
        };
        Self {
            pid,
            session: 0,
            offset,
            replayed: VecDeque::new(),
            acknowledgement,
            is_subscriber,
        }
    }

    /// The pid and offset for a CONNECT. `in_inbox` are the offsets of the events that were
    /// received in the present session and not yet handed over, oldest first.
    pub(crate) fn request(
        &mut self,
        in_inbox: impl Iterator<Item = Arc<str>>,
    ) -> (Option<&str>, Option<&str>) {
        self.replayed.clear();
        if self.acknowledgement == Acknowledgement::OnHandOver {
            self.replayed.extend(in_inbox);
        }
        (self.pid.as_deref(), self.offset.as_deref())
    }

    /// Takes the server's CONNECT; returns whether the session goes on. That is what `verdict`
    /// says, and without one the stock client's rule: the pid came back unchanged.
    pub(crate) fn connected(&mut self, pid: Option<&str>, verdict: Option<bool>) -> bool {
        let is_same = pid.is_some() && pid == self.pid.as_deref();
        let recovered = verdict.unwrap_or(is_same);
        self.pid = pid.map(str::to_owned);
        if !recovered {
            self.session += 1;
            self.replayed.clear();
            if !self.is_subscriber {
                self.offset = None;
            }
        }
        recovered
    }

    /// Whether the events of this session carry an offset.
    pub(crate) fn has_offsets(&self) -> bool {
        self.pid.is_some()
    }

    /// The present session.
    pub(crate) fn session(&self) -> SessionNumber {
        self.session
    }

    /// Whether an event that arrives with `offset` is new; `false` if it lies in the inbox.
    ///
    /// Events arrive in log order, so the first one that is not in the inbox is behind all that
    /// are, and ends the comparison.
    pub(crate) fn is_new(&mut self, offset: &str) -> bool {
        if self.replayed.is_empty() {
            return true;
        }
        if let Some(at) = self.replayed.iter().position(|known| **known == *offset) {
            self.replayed.drain(..=at);
            return false;
        }
        self.replayed.clear();
        true
    }

    /// An event was handed to the application.
    pub(crate) fn handed_over(&mut self, session: SessionNumber, offset: &Arc<str>) {
        if self.acknowledgement == Acknowledgement::OnHandOver && session == self.session {
            self.offset = Some(offset.clone());
        }
    }

    /// The application says that it has handled everything up to `offset`.
    pub(crate) fn acknowledge(&mut self, offset: &str) {
        self.offset = Some(offset.into());
    }

    /// The server or the application ended the session: there is nothing to resume.
    pub(crate) fn end(&mut self) {
        self.pid = None;
        self.session += 1;
        self.replayed.clear();
        if !self.is_subscriber {
            self.offset = None;
        }
    }

    /// For an application that wants to resume in another process.
    pub(crate) fn token(&self) -> Option<ResumeToken> {
        let pid = Some(self.pid.clone()?);
        Some(ResumeToken {
            pid,
            offset: self.offset.as_deref().map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arcs(offsets: &[&str]) -> impl Iterator<Item = Arc<str>> {
        offsets
            .iter()
            .map(|offset| Arc::from(*offset))
            .collect::<Vec<_>>()
            .into_iter()
    }

    fn connected(acknowledgement: Acknowledgement) -> Progress {
        let mut progress = Progress::new(None, acknowledgement, false);
        assert!(!progress.connected(Some("p"), None));
        progress
    }

    #[test]
    fn an_event_in_the_inbox_does_not_move_the_offset_and_is_not_taken_twice() {
        let mut progress = connected(Acknowledgement::OnHandOver);
        progress.handed_over(1, &"e.1.0".into());
        let request = progress.request(arcs(&["e.2.0", "e.3.0"]));
        assert_eq!(request, (Some("p"), Some("e.1.0")));
        assert!(progress.connected(Some("p"), None));
        assert!(!progress.is_new("e.2.0"));
        assert!(!progress.is_new("e.3.0"));
        assert!(progress.is_new("e.4.0"));
    }

    #[test]
    fn the_first_new_event_ends_the_comparison() {
        let mut progress = connected(Acknowledgement::OnHandOver);
        progress.request(arcs(&["e.2.0"]));
        progress.connected(Some("p"), None);
        assert!(progress.is_new("e.5.0"));
        assert!(progress.is_new("e.2.0"));
    }

    #[test]
    fn a_fresh_session_forgets_the_offset_and_late_hand_overs_of_the_old_one() {
        let mut progress = connected(Acknowledgement::OnHandOver);
        progress.handed_over(1, &"e.1.0".into());
        progress.request(arcs(&["e.2.0"]));
        assert!(!progress.connected(Some("q"), None));
        progress.handed_over(1, &"e.2.0".into());
        assert!(progress.is_new("e.2.0"));
        assert_eq!(progress.request(arcs(&[])), (Some("q"), None));
    }

    #[test]
    fn manual_acknowledgement_resumes_behind_what_was_acknowledged_only() {
        let mut progress = connected(Acknowledgement::Manual);
        progress.handed_over(1, &"e.1.0".into());
        assert_eq!(progress.request(arcs(&["e.2.0"])), (Some("p"), None));
        progress.connected(Some("p"), None);
        assert!(progress.is_new("e.2.0"));
        progress.acknowledge("e.1.0");
        assert_eq!(progress.token().unwrap().offset.as_deref(), Some("e.1.0"));
    }

    #[test]
    fn a_subscriber_keeps_its_offset_in_a_new_session() {
        let mut progress = Progress::new(None, Acknowledgement::Manual, true);
        progress.connected(Some("p"), None);
        progress.acknowledge("e.7.0");
        progress.end();
        assert_eq!(progress.request(arcs(&[])), (None, Some("e.7.0")));
        assert!(progress.connected(Some("q"), Some(true)));
    }

    #[test]
    fn the_token_does_not_print_its_secret() {
        let text = format!("{:?}", connected(Acknowledgement::Manual).token().unwrap());
        assert!(!text.contains("\"p\""), "{text}");
    }
}
