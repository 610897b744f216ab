//! JSON that is carried as it is, and bytes as JSON has them.

use bytes::Bytes;
use roomcast_proto::engineio::base64;
use serde_json::value::RawValue;

use crate::socketio::Refusal;

/// JSON as it was written.
pub(super) type Raw = Box<RawValue>;

/// JSON that was checked when it came in.
pub(super) fn raw(json: String) -> Raw {
    RawValue::from_string(json).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// The same, where empty stands for nothing.
pub(super) fn optional(json: String) -> Option<Raw> {
    (!json.is_empty()).then(|| raw(json))
}

/// What a program wrote, empty for nothing.
pub(super) fn written(raw: Option<Raw>) -> String {
    raw.map_or_else(String::new, |raw| raw.get().to_owned())
}

/// Attachments from their base64.
pub(super) fn decoded(attachments: &[String]) -> Result<Vec<Bytes>, Refusal> {
    let decode = |(place, text): (usize, &String)| {
        base64::decode(text.as_bytes())
            .map_err(|_| Refusal::invalid(format!("attachments[{place}] is not padded base64")))
    };
    attachments.iter().enumerate().map(decode).collect()
}

/// Attachments as base64.
pub(super) fn encoded(attachments: &[Bytes]) -> Vec<String> {
    attachments
        .iter()
        .map(|bytes| base64::encode(bytes))
        .collect()
}

/// Empty stands for nothing.
pub(super) fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
