//! Between this crate's types and the shared codecs: the only module that knows the wire.

use bytes::Bytes;
use roomcast_proto::socketio::args::RESERVED_EVENT_NAMES;
use roomcast_proto::socketio::{Limits, Namespace, encode};
use serde_json::{Map, Value};

use crate::error::EmitError;
use crate::event::{Args, ResumeReport};
use crate::outgoing::{Outgoing, OutgoingKind};

/// Limits for what comes from a server.
pub(crate) fn limits(attachments_max: usize) -> Limits {
    Limits {
        attachments_max,
        ..Limits::CLIENT
    }
}

/// An event, with ack id for a request.
pub(crate) fn event(
    namespace: &Namespace,
    name: &str,
    args: Args,
    kind: OutgoingKind,
) -> Result<Outgoing, EmitError> {
    if RESERVED_EVENT_NAMES.contains(&name) {
        return Err(EmitError::ReservedName(name.to_owned()));
    }
    let (values, attachments) = args.into_parts();
    let mut elements = Vec::with_capacity(values.len() + 1);
    elements.push(Value::from(name));
    elements.extend(values);
    let id = match kind {
        OutgoingKind::Request(id) => Some(id),
        OutgoingKind::Emit | OutgoingKind::Answer => None,
    };
    let json = Value::Array(elements).to_string();
    Ok(Outgoing {
        text: encode::event(namespace, json.as_bytes(), None, id, attachments.len()),
        attachments,
        kind,
    })
}

/// The answer to the server's event `id`.
pub(crate) fn answer(namespace: &Namespace, id: u64, args: Args) -> Outgoing {
    let (values, attachments) = args.into_parts();
    let json = Value::Array(values).to_string();
    Outgoing {
        text: encode::ack(namespace, id, json.as_bytes(), attachments.len()),
        attachments,
        kind: OutgoingKind::Answer,
    }
}

/// CONNECT: pid and offset under the application's auth, as stock clients merge them.
pub(crate) fn connect(
    namespace: &Namespace,
    auth: &Map<String, Value>,
    pid: Option<&str>,
    offset: Option<&str>,
) -> Bytes {
    let mut payload = Map::new();
    for (key, value) in [("pid", pid), ("offset", offset)] {
        if let Some(value) = value {
            payload.insert(key.to_owned(), value.into());
        }
    }
    payload.extend(auth.clone());
    if payload.is_empty() {
        return encode::connect_request(namespace, None);
    }
    let json = Value::Object(payload).to_string();
    encode::connect_request(namespace, Some(json.as_bytes()))
}

/// DISCONNECT.
pub(crate) fn disconnect(namespace: &Namespace) -> Bytes {
    encode::disconnect(namespace)
}

/// The server's answer to CONNECT.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ConnectReply {
    /// The socket's id.
    pub(crate) sid: String,
    /// Absent when the session cannot be resumed.
    pub(crate) pid: Option<String>,
    /// Present after an attempted resume.
    pub(crate) resume: Option<ResumeReport>,
}

/// Reads the payload of the server's CONNECT; `None` if it has no sid.
pub(crate) fn connect_reply(payload: Option<&[u8]>) -> Option<ConnectReply> {
    let payload: Value = serde_json::from_slice(payload?).ok()?;
    let text = |value: &Value, key: &str| value.get(key)?.as_str().map(str::to_owned);
    let resume = payload.get("resume").map(|resume| ResumeReport {
        ok: resume.get("ok").and_then(Value::as_bool).unwrap_or(false),
        from: text(resume, "from"),
        reason: text(resume, "reason"),
    });
    Some(ConnectReply {
        sid: text(&payload, "sid")?,
        pid: text(&payload, "pid"),
        resume,
    })
}

/// The name and the arguments of a checked event.
pub(crate) fn event_parts(data: &[u8]) -> Option<(String, Vec<Value>)> {
    let mut values: Vec<Value> = serde_json::from_slice(data).ok()?;
    if values.is_empty() {
        return None;
    }
    let name = match values.remove(0) {
        Value::String(name) => name,
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    Some((name, values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(outgoing: &Outgoing) -> &str {
        std::str::from_utf8(&outgoing.text).unwrap()
    }

    #[test]
    fn events_and_answers_have_the_stock_clients_form() {
        let args = Args::new().json("a").binary(&b"x"[..]);
        let request = OutgoingKind::Request(7);
        let event = event(&Namespace::new("/n").unwrap(), "e", args, request).unwrap();
        assert_eq!(
            text(&event),
            r#"451-/n,7["e","a",{"_placeholder":true,"num":0}]"#
        );
        let answer = answer(&Namespace::ROOT, 3, json!("ok").into());
        assert_eq!(text(&answer), r#"433["ok"]"#);
    }

    #[test]
    fn the_applications_auth_goes_before_pid_and_offset() {
        let auth = json!({"offset": "mine", "token": "t"});
        let auth = auth.as_object().unwrap();
        let connect = connect(&Namespace::ROOT, auth, Some("p"), Some("o"));
        let expected = r#"40{"offset":"mine","pid":"p","token":"t"}"#;
        assert_eq!(connect, expected.as_bytes());
    }

    #[test]
    fn a_connect_without_payload_has_none() {
        let connect = connect(&Namespace::new("/n").unwrap(), &Map::new(), None, None);
        assert_eq!(connect, &b"40/n,"[..]);
    }

    #[test]
    fn reserved_names_are_refused() {
        let refused = event(
            &Namespace::ROOT,
            "disconnect",
            Args::new(),
            OutgoingKind::Emit,
        );
        assert!(matches!(refused, Err(EmitError::ReservedName(_))));
    }

    #[test]
    fn connect_replies_need_a_sid() {
        assert_eq!(connect_reply(None), None);
        assert_eq!(connect_reply(Some(b"{}")), None);
        let reply = br#"{"sid":"s","resume":{"ok":false,"reason":"expired"}}"#;
        let reply = connect_reply(Some(reply)).unwrap();
        assert_eq!(reply.pid, None);
        assert_eq!(reply.resume.unwrap().reason.as_deref(), Some("expired"));
    }
}
