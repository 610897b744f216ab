//! What clients are answered: `{"ok":true,…}`, or a refusal with one of the fixed codes.

use roomcast_proto::offset::Offset;

use crate::socketio::Ack;
pub(crate) use crate::socketio::{Code, Refusal};

/// `[{"ok":true,"offset":"…"}]`, with `"duplicate":true` when a key was seen.
pub(crate) fn ok_offset(offset: &Offset, duplicate: bool) -> String {
    let duplicate = if duplicate {
        r#","duplicate":true"#
    } else {
        ""
    };
    format!(r#"[{{"ok":true,"offset":"{offset}"{duplicate}}}]"#)
}

/// `[{"ok":false,"error":{…}}]`.
pub(crate) fn refused(refusal: &Refusal) -> String {
    let answer = refusal.to_answer();
    String::from_utf8_lossy(&answer.data).into_owned()
}

/// Answers now, when an answer was asked for.
pub(crate) fn reply(ack: Option<Ack>, answer: Result<String, Refusal>) {
    let args = answer.unwrap_or_else(|refusal| refused(&refusal));
    if let Some(ack) = ack {
        ack.send_raw(args.as_bytes(), Vec::new());
    }
}
