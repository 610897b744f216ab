//! Socket.IO v5: `<type>[<attachments>-][/namespace,][<id>][json]`, after Engine.IO's `4`.
//!
//! Reading order: [`packet`], [`mod@decode`], [`encode`], [`args`], [`binary`], `msgpack`,
//! [`parser`]; `json` serves them.
//! Payloads are checked where they enter and then carried as the bytes they are.

pub mod args;
pub mod binary;
pub mod decode;
pub mod encode;
mod json;
mod msgpack;
pub mod packet;
pub mod parser;

pub use binary::{Assembled, Assembler};
pub use decode::{Limits, decode};
pub use packet::{Namespace, Packet};
pub use parser::{Decoder, Outgoing, Parser};
