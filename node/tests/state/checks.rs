//! Every question that the state answers, asked of the reference model too.

use std::collections::BTreeSet;

use roomcast::ids::{Position, SocketId};
use roomcast::state::{HistoryFrom, MembersQuery};

use crate::model::ModelEvent;
use crate::steps::{NAMESPACES, ROOMS};
use crate::world::World;

impl World {
    /// Every question, for everything there is.
    pub(crate) fn check(&self, salt: u64) {
        let sessions: BTreeSet<_> = self.model.sessions.keys().copied().collect();
        assert_eq!(self.told.keys().copied().collect::<BTreeSet<_>>(), sessions);
        let away = self
            .model
            .sessions
            .values()
            .filter(|s| s.away_until_us.is_some())
            .count();
        assert_eq!(self.state.away_count(), away);
        assert_eq!(self.state.connected_count(), sessions.len() - away);
        for back in [0, salt % 5, salt % 17, self.index] {
            let after = Position::new(self.index.saturating_sub(back), (salt % 5) as u32);
            sessions.iter().for_each(|id| self.check_owed(id, after));
            self.check_histories(after);
        }
        self.check_followers(salt);
        for room in ROOMS {
            self.check_members(room);
        }
        let kept = self.model.events.iter().filter(|event| !event.dropped);
        assert_eq!(
            self.state.first_needed_index(),
            kept.map(|e| e.position.index).min()
        );
        let needed = (0..=self.index).filter(|index| self.state.needs_entry(*index));
        assert_eq!(self.state.needed_entries(), needed.collect::<Vec<_>>());
        for namespace in NAMESPACES {
            let acknowledged = self.model.acknowledged(namespace);
            assert_eq!(self.state.acknowledged(namespace), acknowledged);
        }
        assert_eq!(self.state.lag_us(), self.model.lag_us());
        let spared = |event: &&ModelEvent| event.beyond && !event.dropped;
        let spared = self.model.events.iter().filter(spared).count();
        assert_eq!(self.state.counts().spared, spared);
        if let Some(due) = self.state.next_due() {
            assert!(due > self.state.log_time_us(), "what is due was done");
        }
    }

    fn check_owed(&self, id: &SocketId, after: Position) {
        let model = &self.model.sessions[id];
        let session = self.state.session_by_id(id).expect("the model has it");
        let rooms: BTreeSet<String> = session.rooms().map(|room| room.to_string()).collect();
        assert_eq!(rooms, model.rooms());
        assert_eq!(Some(&rooms), self.told.get(id));
        assert_eq!(self.state.cursor(id), Some(model.cursor), "{id}");
        assert_eq!(session.generation, model.generation);
        assert_eq!(session.spared_count(), self.model.spared(id).len(), "{id}");
        let early = |event: &&ModelEvent| event.early && event.dropped;
        for event in self.model.events.iter().filter(early) {
            let owed = model.reached_by(event) && event.position > model.cursor;
            assert!(!owed, "dropped before it was acknowledged: {event:?}");
        }
        let owed = self.state.owed(id, model.generation, after, 4);
        assert_eq!(owed.is_some(), model.away_until_us.is_none());
        assert_eq!(self.state.owed(id, model.generation - 1, after, 4), None);
        let Some(mut owed) = owed else { return };
        assert_eq!(owed.lost, self.model.lost(model, after));
        assert!(
            owed.lost || !self.model.lost_exactly(model, after),
            "a hole was hidden"
        );
        // Page by page, as a reader goes on.
        let mut positions = Vec::new();
        while owed.through < self.state.position() {
            positions.append(&mut owed.positions);
            owed = self
                .state
                .owed(id, model.generation, owed.through, 4)
                .expect("current");
        }
        positions.append(&mut owed.positions);
        let kept = |event: &&ModelEvent| event.position > after && !event.dropped;
        let events = self
            .model
            .events
            .iter()
            .filter(kept)
            .filter(|e| model.reached_by(e));
        let events: Vec<_> = events.collect();
        let expected: Vec<_> = events.iter().map(|event| event.position).collect();
        assert_eq!(positions, expected);
        for event in events {
            let excepted = self.state.is_excepted(id, &event.except, event.position);
            assert_eq!(excepted, model.is_excepted(event), "{event:?}");
        }
    }

    fn check_histories(&self, after: Position) {
        for namespace in NAMESPACES {
            for room in ROOMS {
                let of_room = |event: &&ModelEvent| {
                    event.namespace == namespace && event.rooms.iter().any(|name| name == room)
                };
                let all: Vec<_> = self.model.events.iter().filter(of_room).collect();
                let later = |position: Position| all.iter().filter(move |e| e.position > position);
                for (from, start) in [
                    (HistoryFrom::After(after), after),
                    (HistoryFrom::Oldest, Position::ZERO),
                ] {
                    let page = self.state.room_events(namespace, room, from, 100);
                    let kept = later(start).filter(|event| !event.dropped);
                    assert_eq!(page.positions, kept.map(|e| e.position).collect::<Vec<_>>());
                    assert_eq!(page.complete, !later(start).any(|event| event.dropped));
                    assert!(!page.more);
                }
                let page = self
                    .state
                    .room_events(namespace, room, HistoryFrom::Last(2), 100);
                let last = &all[all.len().saturating_sub(2)..];
                assert_eq!(page.complete, last.iter().all(|event| !event.dropped));
                let hole = all.iter().filter(|event| event.dropped).map(|e| e.position);
                let hole = hole.max().unwrap_or_default();
                let kept = last.iter().map(|event| event.position);
                let kept = kept.filter(|at| *at > hole);
                assert_eq!(page.positions, kept.collect::<Vec<_>>());
            }
        }
    }

    fn check_members(&self, room: &str) {
        for include_away in [false, true] {
            let query = MembersQuery {
                namespace: "/",
                room: Some(room),
                after: None,
                limit: 2,
                include_away,
            };
            let mut page = self.state.members(&query);
            let count = page.count;
            let mut ids: Vec<SocketId> = page.members.iter().map(|member| member.id).collect();
            while let Some(next) = page.next {
                page = self.state.members(&MembersQuery {
                    after: Some(next),
                    ..query
                });
                ids.extend(page.members.iter().map(|member| member.id));
            }
            let listed = self.model.sessions.iter().filter(|(_, session)| {
                session.namespace == "/"
                    && session.rooms().contains(room)
                    && (include_away || session.away_until_us.is_none())
            });
            let expected: Vec<SocketId> = listed.map(|(id, _)| *id).collect();
            assert_eq!(ids, expected);
            assert_eq!(count, expected.len());
            if !include_away {
                let none: [&str; 0] = [];
                assert_eq!(self.state.connected_members("/", &[room], &none), expected);
            }
        }
    }
}
