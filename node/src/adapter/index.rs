//! Which sockets of this node are in which rooms, as of the fan-out's position. Owned by the
//! fan-out alone, so it needs no lock. Ordered maps: delivery order does not depend on hashing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::socket::LocalSocket;
use crate::ids::{Incarnation, SocketId};
use crate::state::Event;

type Members = BTreeMap<SocketId, Arc<LocalSocket>>;

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Index {
    sockets: HashMap<SocketId, Entry>,
    namespaces: HashMap<Arc<str>, Rooms>,
}

#[derive(Debug)]
struct Entry {
    socket: Arc<LocalSocket>,
    rooms: Vec<Arc<str>>,
}

#[derive(Debug, Default)]
struct Rooms {
    everyone: Members,
    rooms: HashMap<Arc<str>, Members>,
}

impl Index {
    pub(crate) fn get(&self, id: SocketId) -> Option<&Arc<LocalSocket>> {
        self.sockets.get(&id).map(|entry| &entry.socket)
    }

    /// The sockets of one life of this node as a producer.
    pub(crate) fn owned_by(&self, incarnation: Incarnation) -> Vec<SocketId> {
        let owned = |entry: &&Entry| entry.socket.owner == incarnation;
        let mut ids: Vec<SocketId> = self
            .sockets
            .values()
            .filter(owned)
            .map(|entry| entry.socket.id)
            .collect();
        ids.sort_unstable();
        ids
    }

    /// The same, themselves and in no order.
    pub(crate) fn sockets_of(&self, incarnation: Incarnation) -> Vec<Arc<LocalSocket>> {
        let sockets = self.sockets.values().map(|entry| &entry.socket);
        sockets
            .filter(|socket| socket.owner == incarnation)
            .cloned()
            .collect()
    }

    pub(crate) fn insert(&mut self, socket: Arc<LocalSocket>) {
        debug_assert!(
            !self.sockets.contains_key(&socket.id),
            "the old one is removed first"
        );
        let rooms = self
            .namespaces
            .entry(Arc::clone(&socket.namespace))
            .or_default();
        rooms.everyone.insert(socket.id, Arc::clone(&socket));
        self.sockets.insert(
            socket.id,
            Entry {
                socket,
                rooms: Vec::new(),
            },
        );
    }

    /// Adds a socket to rooms; its own room needs no entry. Unknown sockets are ignored: their
    /// rooms come with their attach.
    pub(crate) fn join(&mut self, id: SocketId, rooms: &[Arc<str>]) {
        let Some(entry) = self.sockets.get_mut(&id) else {
            return;
        };
        let Some(namespace) = self.namespaces.get_mut(&entry.socket.namespace) else {
            return;
        };
        for room in rooms {
            if *room == entry.socket.id_text || entry.rooms.contains(room) {
                continue;
            }
            entry.rooms.push(Arc::clone(room));
            let members = namespace.rooms.entry(Arc::clone(room)).or_default();
            members.insert(id, Arc::clone(&entry.socket));
        }
    }

    pub(crate) fn leave(&mut self, id: SocketId, rooms: &[Arc<str>]) {
        let Some(entry) = self.sockets.get_mut(&id) else {
            return;
        };
        entry.rooms.retain(|room| !rooms.contains(room));
        if let Some(namespace) = self.namespaces.get_mut(&entry.socket.namespace) {
            for room in rooms {
                namespace.drop_member(room, id);
            }
        }
    }

    pub(crate) fn remove(&mut self, id: SocketId) -> Option<Arc<LocalSocket>> {
        let entry = self.sockets.remove(&id)?;
        if let Some(namespace) = self.namespaces.get_mut(&entry.socket.namespace) {
            for room in &entry.rooms {
                namespace.drop_member(room, id);
            }
            namespace.everyone.remove(&id);
            if namespace.everyone.is_empty() {
                self.namespaces.remove(&entry.socket.namespace);
            }
        }
        Some(entry.socket)
    }

    pub(crate) fn drain(&mut self) -> Vec<Arc<LocalSocket>> {
        self.namespaces.clear();
        self.sockets
            .drain()
            .map(|(_, entry)| entry.socket)
            .collect()
    }

    /// Calls `deliver` once for each socket of this node that the event is for.
    pub(crate) fn each_target(&self, event: &Event, mut deliver: impl FnMut(&Arc<LocalSocket>)) {
        let Some(namespace) = self.namespaces.get(&event.namespace) else {
            return;
        };
        let excepted = |id: &SocketId| {
            event.except.iter().any(|room| {
                let joined = namespace.rooms.get(room);
                joined.is_some_and(|members| members.contains_key(id))
                    || SocketId::parse(room).as_ref() == Some(id)
            })
        };
        match event.rooms.as_slice() {
            [] => {
                for (id, socket) in &namespace.everyone {
                    if !excepted(id) {
                        deliver(socket);
                    }
                }
            }
            [room] => {
                for (id, socket) in self.members(namespace, room) {
                    if !excepted(id) {
                        deliver(socket);
                    }
                }
            }
            rooms => {
                let union: BTreeMap<_, _> = rooms
                    .iter()
                    .flat_map(|room| self.members(namespace, room))
                    .collect();
                for (id, socket) in union {
                    if !excepted(id) {
                        deliver(socket);
                    }
                }
            }
        }
    }

    /// The members of a room; a socket's own room holds that socket.
    fn members<'a>(
        &'a self,
        namespace: &'a Rooms,
        room: &str,
    ) -> Box<dyn Iterator<Item = (&'a SocketId, &'a Arc<LocalSocket>)> + 'a> {
        let own = SocketId::parse(room).and_then(|id| namespace.everyone.get_key_value(&id));
        match (namespace.rooms.get(room), own) {
            (Some(members), None) => Box::new(members.iter()),
            (Some(members), Some((id, socket))) => {
                let others = members.iter().filter(move |(other, _)| *other != id);
                Box::new(std::iter::once((id, socket)).chain(others))
            }
            (None, own) => Box::new(own.into_iter()),
        }
    }
}

impl Rooms {
    fn drop_member(&mut self, room: &Arc<str>, id: SocketId) {
        if let Some(members) = self.rooms.get_mut(room) {
            members.remove(&id);
            if members.is_empty() {
                self.rooms.remove(room);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::testing::{event, id, live};
    use crate::ids::Position;

    /// Sockets 1 to 4; 1 and 2 are in `a`, 2 and 3 in `b`.
    fn index() -> Index {
        let mut index = Index::default();
        for n in 1..=4 {
            index.insert(live(n).0);
        }
        for (n, room) in [(1, "a"), (2, "a"), (2, "b"), (3, "b")] {
            index.join(id(n), &[room.into()]);
        }
        index
    }

    fn targets(index: &Index, rooms: &[&str], except: &[&str]) -> Vec<u8> {
        let mut targets = Vec::new();
        index.each_target(&event(Position::ZERO, rooms, except), |socket| {
            targets.push(socket.id.0[0]);
        });
        targets
    }

    #[test]
    fn an_event_goes_once_to_each_member_of_any_target_room_outside_every_except() {
        let index = index();
        let (own1, own3) = (id(1).to_string(), id(3).to_string());
        for (rooms, except, expected) in [
            (&[][..], &[][..], &[1, 2, 3, 4][..]),
            (&[], &["a"], &[3, 4]),
            (&[], &["a", "b"], &[4]),
            (&[], &[&own1], &[2, 3, 4]),
            (&["a"], &[], &[1, 2]),
            (&["a"], &["b"], &[1]),
            (&["a"], &[&own1], &[2]),
            (&["a", "b"], &[], &[1, 2, 3]),
            (&["a", "a"], &[], &[1, 2]),
            (&["a", "b"], &["a"], &[3]),
            (&["a", &own3], &[], &[1, 2, 3]),
            (&["a", &own1], &[], &[1, 2]),
            (&[&own3], &[], &[3]),
            (&[&own3], &["b"], &[]),
            (&["nobody"], &[], &[]),
            (&["a"], &["nobody"], &[1, 2]),
        ] {
            assert_eq!(
                targets(&index, rooms, except),
                expected,
                "{rooms:?} {except:?}"
            );
        }
    }

    #[test]
    fn a_room_named_by_a_socket_holds_that_socket_and_whoever_joined_it() {
        let mut index = index();
        let own1 = id(1).to_string();
        index.join(id(4), &[own1.as_str().into()]);
        assert_eq!(targets(&index, &[&own1], &[]), [1, 4]);
        assert_eq!(targets(&index, &[], &[&own1]), [2, 3]);
        index.leave(id(4), &[own1.as_str().into()]);
        assert_eq!(targets(&index, &[&own1], &[]), [1]);
    }

    #[test]
    fn rooms_follow_joins_leaves_and_ends() {
        let mut index = index();
        index.join(id(9), &["a".into()]);
        index.join(id(1), &["a".into(), id(1).to_string().into()]);
        index.leave(id(1), &["a".into(), "b".into()]);
        assert_eq!(targets(&index, &["a"], &[]), [2]);
        assert!(index.remove(id(2)).is_some() && index.remove(id(2)).is_none());
        assert_eq!(targets(&index, &["a"], &[]), [0; 0]);
        assert_eq!(targets(&index, &[], &[]), [1, 3, 4]);
        assert!(index.get(id(2)).is_none() && index.get(id(3)).is_some());
        index.insert(live(2).0);
        assert_eq!(
            targets(&index, &["b"], &[]),
            [3],
            "it comes back without rooms"
        );
        assert_eq!(index.drain().len(), 4);
        assert_eq!(targets(&index, &[], &[]), [0; 0]);
    }

    #[test]
    fn another_namespace_hears_nothing() {
        let index = index();
        let mut other = event(Position::ZERO, &[], &[]);
        other.namespace = "/other".into();
        index.each_target(&other, |socket| panic!("{} heard it", socket.id));
    }
}
