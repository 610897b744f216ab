//! Which sockets of this node are in which rooms, as of the fan-out's position. Owned by the fan-out
//! alone, so it needs no lock. Ordered maps: delivery order does not depend on hashing.

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

    /// Adds a socket to rooms; its own room needs no entry. Unknown sockets are ignored: their rooms
    /// come with their attach.
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
    pub(crate) fn each_target(&self, event: &Event, mut deliver: impl FnMut(&LocalSocket)) {
        let Some(namespace) = self.namespaces.get(&event.namespace) else {
            return;
        };
        let excepted = |id: &SocketId| {
            event
                .except
                .iter()
                .any(|room| match namespace.rooms.get(room) {
                    Some(members) => members.contains_key(id),
                    None => SocketId::parse(room).as_ref() == Some(id),
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
