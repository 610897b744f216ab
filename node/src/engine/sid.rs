//! The Engine.IO session id: the node that owns the session is readable from it, so that any node
//! can forward a request to the owner without a look-up (design, section 6).

use std::fmt;

use crate::ids::{Entropy, NodeId, SocketId};

/// Id of one Engine.IO session; its text is `<node, base 36>.<22 characters of base64>`. Whoever
/// knows it can act for the client, hence a `Debug` that shows the node only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sid {
    /// The node that owns the session.
    node: NodeId,
    /// 128 random bits.
    random: [u8; 16],
}

impl Sid {
    /// A fresh id of a session owned by `node`.
    #[must_use]
    pub fn generate(node: NodeId, entropy: &Entropy) -> Self {
        Self {
            node,
            random: entropy.bits128(),
        }
    }

    /// The node that owns the session.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// The text a client is given, to be sent only to that client.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{}.{}", base36(self.node), SocketId(self.random))
    }

    /// Reads a client's text; `None` when it is no id of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (node, random) = text.split_once('.')?;
        let value = u64::from_str_radix(node, 36).ok()?;
        if base36(value) != node {
            return None;
        }
        Some(Self {
            node: value,
            random: SocketId::parse(random)?.0,
        })
    }

    /// A number that spreads ids evenly over shards.
    pub(crate) const fn spread(&self) -> usize {
        u16::from_be_bytes([self.random[0], self.random[1]]) as usize
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sid({}.…)", base36(self.node))
    }
}

fn base36(mut value: u64) -> String {
    let mut digits = Vec::with_capacity(13);
    loop {
        digits.push(b"0123456789abcdefghijklmnopqrstuvwxyz"[(value % 36) as usize] as char);
        value /= 36;
        if value == 0 {
            return digits.iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_readable_and_only_canonical_text_is_an_id() {
        let entropy = Entropy::from_seed(3);
        for node in [0, 1, 35, 36, 1_000_000, u64::MAX] {
            let sid = Sid::generate(node, &entropy);
            let text = sid.reveal();
            assert!(text.len() >= 20, "{text}");
            assert_eq!(Sid::parse(&text), Some(sid));
            assert_eq!(Sid::parse(&text).map(|s| s.node()), Some(node));
            assert_eq!(Sid::parse(&format!("0{text}")), None, "leading zero");
            assert_eq!(Sid::parse(&format!("+{text}")), None, "sign");
            assert!(!format!("{sid:?}").contains(text.split_once('.').unwrap().1));
        }
        assert_eq!(
            Sid::parse("lv_VI97HAXpY6yYWAAAC"),
            None,
            "another server's id"
        );
        assert_eq!(Sid::parse(""), None);
    }
}
