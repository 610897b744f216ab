//! How this node's client port speaks HTTP, as typed values.

use super::parse;
use super::reader::{Reader, Wrong};

/// Largest threshold of compression; no payload is as large.
const COMPRESSION_BYTES_MIN_MAX: u64 = 1 << 30;

/// What of HTTP an operator decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// Bytes from which answers to polling GETs are compressed; `None`: never.
    pub compression_bytes_min: Option<usize>,
}

impl HttpConfig {
    /// `None` after noting what was refused.
    pub(crate) fn read(reader: &mut Reader) -> Option<Self> {
        let compression = reader.optional("http-compression", compression);
        Some(Self {
            compression_bytes_min: compression?,
        })
    }
}

fn compression(text: &str) -> Result<Option<usize>, Wrong> {
    if text == "off" {
        return Ok(None);
    }
    match parse::bytes(text).filter(|bytes| *bytes <= COMPRESSION_BYTES_MIN_MAX) {
        Some(bytes) => Ok(Some(usize::try_from(bytes).expect("at most 1 GiB"))),
        None => {
            let right = format!("off, or a size: {}", parse::BYTES_FORM);
            Err((format!("`{text}` is no size"), right))
        }
    }
}
