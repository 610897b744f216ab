//! What one packet of the layer above becomes: messages that belong together.

use bytes::Bytes;

/// A text packet and the binary messages that follow it, of which either may be absent; nothing of
/// the same session comes between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Messages {
    /// An Engine.IO text packet, type digit first (`4…`); empty when there is none.
    pub text: Bytes,
    /// Binary message payloads.
    pub binary: Vec<Bytes>,
}

/// A text packet alone.
impl From<Bytes> for Messages {
    fn from(text: Bytes) -> Self {
        Self {
            text,
            binary: Vec::new(),
        }
    }
}
