//! Newtypes for the identifiers of the system. Random ones carry 128 bits and are made by
//! [`Entropy`].

use std::fmt;

/// One process of the cluster.
pub type NodeId = u64;
/// One Raft group.
pub type GroupId = u32;
/// One life of a gateway as a producer in one group: random, never used again.
pub type Incarnation = u64;

/// A point in a group's log: (entry index, operation within the entry).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// Index of the Raft entry.
    pub index: u64,
    /// Operation within the entry, from 0.
    pub op: u32,
}

impl Position {
    /// Before everything in a log.
    pub const ZERO: Self = Self { index: 0, op: 0 };
    /// Behind everything in a log.
    pub const MAX: Self = Self {
        index: u64::MAX,
        op: u32::MAX,
    };

    /// Builds a position.
    #[must_use]
    pub const fn new(index: u64, op: u32) -> Self {
        Self { index, op }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.op)
    }
}

/// A Socket.IO socket's id; its text is 22 characters of unpadded URL-safe base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub [u8; 16]);

/// A private session id: a bearer secret, hence no `Display` and a silent `Debug`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(pub [u8; 16]);

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pid(…)")
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode_base64(&self.0))
    }
}

impl Pid {
    /// The text a client is given, to be sent only to that client.
    #[must_use]
    pub fn reveal(&self) -> String {
        encode_base64(&self.0)
    }

    /// Reads a client's text; `None` when it is no pid of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        decode_base64(text).map(Self)
    }
}

impl SocketId {
    /// Reads a socket id's text; `None` when it cannot be one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        decode_base64(text).map(Self)
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn encode_base64(bytes: &[u8; 16]) -> String {
    let value = u128::from_be_bytes(*bytes);
    let sextet = |shift: u32| ALPHABET[((value >> shift) & 63) as usize] as char;
    let mut text: String = (0..21).map(|i| sextet(122 - 6 * i)).collect();
    text.push(ALPHABET[((value & 3) << 4) as usize] as char);
    text
}

fn decode_base64(text: &str) -> Option<[u8; 16]> {
    if text.len() != 22 {
        return None;
    }
    let mut value: u128 = 0;
    for (i, byte) in text.bytes().enumerate() {
        let sextet = ALPHABET.iter().position(|&c| c == byte)? as u128;
        if i < 21 {
            value = (value << 6) | sextet;
        } else if sextet & 15 != 0 {
            return None;
        } else {
            value = (value << 2) | (sextet >> 4);
        }
    }
    Some(value.to_be_bytes())
}

/// The one source of random numbers, injected so that a simulation can seed it.
#[derive(Debug, Clone)]
pub struct Entropy(std::sync::Arc<parking_lot::Mutex<rand::rngs::StdRng>>);

impl Entropy {
    /// Seeded by the operating system.
    #[must_use]
    pub fn from_os() -> Self {
        Self::with(rand::SeedableRng::from_os_rng())
    }

    /// Seeded by a number: for tests and simulation.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self::with(rand::SeedableRng::seed_from_u64(seed))
    }

    fn with(rng: rand::rngs::StdRng) -> Self {
        Self(std::sync::Arc::new(parking_lot::Mutex::new(rng)))
    }

    /// 128 random bits.
    #[must_use]
    pub fn bits128(&self) -> [u8; 16] {
        rand::Rng::random(&mut *self.0.lock())
    }

    /// 64 random bits, never 0.
    #[must_use]
    pub fn bits64(&self) -> u64 {
        rand::Rng::random_range(&mut *self.0.lock(), 1..=u64::MAX)
    }

    /// A fresh socket id.
    #[must_use]
    pub fn socket_id(&self) -> SocketId {
        SocketId(self.bits128())
    }

    /// A fresh private session id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid(self.bits128())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_through_their_text() {
        let entropy = Entropy::from_seed(7);
        for _ in 0..1000 {
            let id = entropy.socket_id();
            assert_eq!(SocketId::parse(&id.to_string()), Some(id));
            let pid = entropy.pid();
            assert_eq!(Pid::parse(&pid.reveal()), Some(pid));
        }
        assert_eq!(SocketId::parse("short"), None);
        assert_eq!(
            SocketId::parse("AAAAAAAAAAAAAAAAAAAAAB"),
            None,
            "unused bits must be zero"
        );
    }
}
