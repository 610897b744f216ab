//! What a client brings in its CONNECT packet besides what the application asks for: an earlier
//! session to resume, whether it wants to be able to, and as which durable subscriber it comes.

use bytes::Bytes;
use roomcast_proto::command::{self, resume};
use roomcast_proto::offset::Offset;
use serde_json::{Map, Value};

use super::handler::Recovery;
use crate::engine::Handshake;
use crate::ids::Pid;
use crate::limits;

/// `auth.ack` of a client whose `ack` alone moves its cursor.
const MANUAL: &str = "manual";
/// `auth.ack` of a client whose PONGs move it too: what goes without saying.
const PONG: &str = "pong";

/// A CONNECT packet's payload, taken apart.
#[derive(Debug, PartialEq)]
pub(super) struct Brought {
    /// The application's part.
    pub(super) auth: Value,
    /// What it brings of an earlier session, if anything.
    pub(super) earlier: Option<Earlier>,
    /// Whether it wants recovery.
    pub(super) wish: Wish,
    /// The durable subscriber that it is; `Err` says in words what is wrong with it.
    pub(super) subscriber: Result<Option<Subscriber>, String>,
    /// Only its `ack` moves its cursor.
    pub(super) manual: bool,
}

/// A durable subscriber, as its client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subscriber {
    /// Its name within namespace and identity.
    pub(super) name: String,
    /// It is to end.
    pub(super) end: bool,
}

/// What a client brings of an earlier session.
#[derive(Debug, PartialEq)]
pub(super) struct Earlier {
    /// None: the text cannot be one of our pids.
    pub(super) pid: Option<Pid>,
    pub(super) offset: Option<resume::Offset>,
}

/// What a client says about recovery, in `auth.recovery` or in the query of its handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// `recovery: true` or `recovery=1`.
    Asked,
    /// `recovery: false` or `recovery=0`, whatever else it says.
    Declined,
    /// Nothing: it may never have heard of it.
    Unsaid,
}

impl Wish {
    fn read(auth: &Map<String, Value>, handshake: &Handshake) -> Self {
        let (said, query) = (auth.get("recovery"), handshake.query("recovery"));
        if said == Some(&Value::Bool(false)) || query == Some("0") {
            Self::Declined
        } else if said == Some(&Value::Bool(true)) || query == Some("1") {
            Self::Asked
        } else {
            Self::Unsaid
        }
    }

    /// Whether a client with this wish gets a `pid` and offsets.
    pub(super) fn is_granted(self, recovery: Recovery) -> bool {
        match recovery {
            Recovery::Offered => self != Self::Declined,
            Recovery::OptIn => self == Self::Asked,
            Recovery::Off => false,
        }
    }
}

impl Brought {
    /// Takes `pid` and `offset` out of the client's auth, and its wish.
    pub(super) fn read(auth: Option<Bytes>, handshake: &Handshake) -> Self {
        let parsed = auth.and_then(|auth| serde_json::from_slice::<Map<String, Value>>(&auth).ok());
        let mut auth = parsed.unwrap_or_default();
        let offset = match auth.remove("offset") {
            None | Some(Value::Null) => None,
            Some(value) => Some(read_offset(&value)),
        };
        let subscriber = read_subscriber(&auth);
        let is_subscriber = matches!(&subscriber, Ok(Some(subscriber)) if !subscriber.end);
        let ends = matches!(&subscriber, Ok(Some(subscriber)) if subscriber.end);
        let earlier = match auth.remove("pid") {
            _ if ends => None,
            // Its name is enough to come back.
            None | Some(Value::Null) if is_subscriber => Some(Earlier { pid: None, offset }),
            None | Some(Value::Null) => None,
            Some(pid) => Some(Earlier {
                pid: pid.as_str().and_then(Pid::parse),
                offset,
            }),
        };
        let manual = auth.get("ack").is_some_and(|ack| ack == MANUAL);
        let wish = match Wish::read(&auth, handshake) {
            Wish::Unsaid if is_subscriber || ends => Wish::Asked,
            wish => wish,
        };
        Self {
            auth: Value::Object(auth),
            earlier,
            wish,
            subscriber,
            manual,
        }
    }
}

/// `auth.subscriber`, with the two members that belong to it. They mean something else, or nothing,
/// to an application whose clients are no durable subscribers, so they are judged here only.
fn read_subscriber(auth: &Map<String, Value>) -> Result<Option<Subscriber>, String> {
    let name = match auth.get("subscriber") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(name)) => name,
        Some(_) => return Err("auth.subscriber is not a string".to_owned()),
    };
    let bytes_max = limits::SUBSCRIBER_NAME_BYTES_MAX;
    if name.is_empty() || name.len() > bytes_max {
        return Err(format!("auth.subscriber has 1 to {bytes_max} bytes"));
    }
    if auth
        .get("ack")
        .is_some_and(|ack| ack != MANUAL && ack != PONG)
    {
        return Err(format!("auth.ack is \"{MANUAL}\" or \"{PONG}\""));
    }
    let end = match auth.get("end") {
        None => false,
        Some(Value::Bool(end)) => *end,
        Some(_) => return Err("auth.end is not a boolean".to_owned()),
    };
    let name = name.clone();
    Ok(Some(Subscriber { name, end }))
}

fn read_offset(value: &Value) -> resume::Offset {
    let known = value.as_str().and_then(|text| text.parse::<Offset>().ok());
    match known {
        Some(offset) => resume::Offset::Known(command::Offset {
            epoch: offset.epoch,
            index: offset.index,
            op: offset.op,
        }),
        None => resume::Offset::Unreadable(true),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(auth: &str, query: &[(&str, &str)]) -> Brought {
        let query = query
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let remote = ([127, 0, 0, 1], 1).into();
        let handshake = Handshake::new(query.collect(), &http::HeaderMap::new(), remote);
        Brought::read(Some(Bytes::copy_from_slice(auth.as_bytes())), &handshake)
    }

    fn earlier(auth: &str) -> Option<Earlier> {
        read(auth, &[]).earlier
    }

    #[test]
    fn a_pid_makes_a_resume_and_an_offset_alone_does_not() {
        let pid = Pid([1; 16]);
        let text = pid.reveal();
        let known = resume::Offset::Known(command::Offset {
            epoch: 35,
            index: 36,
            op: 1,
        });
        let unreadable = resume::Offset::Unreadable(true);
        for (auth, expected) in [
            (format!(r#"{{"pid":"{text}"}}"#), Some((Some(pid), None))),
            (
                format!(r#"{{"pid":"{text}","offset":null}}"#),
                Some((Some(pid), None)),
            ),
            (
                format!(r#"{{"pid":"{text}","offset":"z.10.1"}}"#),
                Some((Some(pid), Some(known))),
            ),
            (
                format!(r#"{{"pid":"{text}","offset":"z.10"}}"#),
                Some((Some(pid), Some(unreadable))),
            ),
            (
                format!(r#"{{"pid":"{text}","offset":7}}"#),
                Some((Some(pid), Some(unreadable))),
            ),
            (r#"{"pid":"short"}"#.into(), Some((None, None))),
            (r#"{"pid":7}"#.into(), Some((None, None))),
            (r#"{"pid":null,"offset":"z.10.1"}"#.into(), None),
            (r#"{"offset":"z.10.1"}"#.into(), None),
            ("{}".into(), None),
        ] {
            let expected = expected.map(|(pid, offset)| Earlier { pid, offset });
            assert_eq!(earlier(&auth), expected, "{auth}");
        }
    }

    #[test]
    fn middlewares_see_the_auth_without_the_bearer_secret() {
        let brought = read(r#"{"pid":"p","offset":"o","token":"t","n":[1]}"#, &[]);
        assert_eq!(brought.auth, json!({ "token": "t", "n": [1] }));
        assert_eq!(Brought::read(None, &handshake()).auth, json!({}));
    }

    fn handshake() -> Handshake {
        let remote = ([127, 0, 0, 1], 1).into();
        Handshake::new(Vec::new(), &http::HeaderMap::new(), remote)
    }

    #[test]
    fn recovery_is_a_matter_of_the_namespace_and_of_the_clients_wish() {
        const OFFERED: bool = true;
        const OPT_IN: bool = true;
        for (auth, query, offered, opt_in) in [
            ("{}", &[][..], OFFERED, false),
            (r#"{"recovery":true}"#, &[], OFFERED, OPT_IN),
            (r#"{"recovery":false}"#, &[], false, false),
            (r#"{"recovery":"false"}"#, &[], OFFERED, false),
            ("{}", &[("recovery", "0")], false, false),
            ("{}", &[("recovery", "1")], OFFERED, OPT_IN),
            ("{}", &[("recovery", "yes")], OFFERED, false),
            (r#"{"recovery":true}"#, &[("recovery", "0")], false, false),
            (r#"{"recovery":false}"#, &[("recovery", "1")], false, false),
        ] {
            let wish = read(auth, query).wish;
            let granted = |recovery| wish.is_granted(recovery);
            assert_eq!(granted(Recovery::Offered), offered, "{auth} {query:?}");
            assert_eq!(granted(Recovery::OptIn), opt_in, "{auth} {query:?}");
            assert!(!granted(Recovery::Off));
        }
    }
}
