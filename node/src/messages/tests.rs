//! Each conversion by table: what passes, and the words of what does not.

use bytes::Bytes;
use http::StatusCode;
use roomcast_proto::api;

use super::*;
use crate::limits;
use crate::socketio::{Code, Event, OperationError, Refusal};

fn event(name: &str, args: &str, attachments: &[&'static [u8]]) -> Option<api::Event> {
    Some(api::Event {
        name: name.to_owned(),
        args: args.to_owned(),
        attachments: attachments
            .iter()
            .copied()
            .map(Bytes::from_static)
            .collect(),
    })
}

#[test]
fn an_event_is_its_arguments_behind_its_name_with_their_own_text() {
    for (name, args, json, back) in [
        ("e", "", r#"["e"]"#, "[]"),
        ("e", " [ ] ", r#"["e"]"#, "[]"),
        (
            "e",
            "[1.10, {\"b\":1,\"a\":2}]",
            r#"["e",1.10, {"b":1,"a":2}]"#,
            "[1.10, {\"b\":1,\"a\":2}]",
        ),
        (
            "quo\"te",
            "\n[\"\\ud800\"]",
            r#"["quo\"te","\ud800"]"#,
            r#"["\ud800"]"#,
        ),
        ("", "[[]]", r#"["",[]]"#, "[[]]"),
    ] {
        let payload = payload(event(name, args, &[])).unwrap();
        assert_eq!(payload.json, json, "{name} {args}");
        let out = event_of(&payload.json, Vec::new());
        assert_eq!((out.name.as_str(), out.args.as_str()), (name, back));
    }
    let numbered = event_of(&Bytes::from_static(b"[ 7 , \"x\"]"), Vec::new());
    assert_eq!(
        (numbered.name.as_str(), numbered.args.as_str()),
        ("7", "[ \"x\"]")
    );
}

#[test]
fn an_event_that_would_harm_a_stock_client_is_refused_by_field() {
    let deep = format!("{}{}", "[".repeat(101), "]".repeat(101));
    let placeholder = r#"[{"_placeholder":true,"num":1}]"#;
    for (case, words) in [
        (None, "event is missing"),
        (
            event("disconnect", "", &[]),
            "event.name: event name disconnect is reserved",
        ),
        (event("e", "{}", &[]), "event.args: payload is not an array"),
        (
            event("e", "[1],[2]", &[]),
            "event.args: malformed json at line 1, column 8",
        ),
        (
            event("e", "[1", &[]),
            "event.args: malformed json at line 1, column 6",
        ),
        (
            event("e", &deep, &[]),
            "event.args: json is nested deeper than 100",
        ),
        (
            event("e", placeholder, &[b"x"]),
            "event.args: placeholder without its attachment",
        ),
        (
            event("e", "[]", &[b"x" as &[u8]; 11]),
            "event.attachments: there are at most 10",
        ),
    ] {
        assert_eq!(
            payload(case.clone()),
            Err(Refusal::invalid(words)),
            "{case:?}"
        );
    }
    assert!(payload(event("e", placeholder, &[b"x", b"y"])).is_ok());
}

#[test]
fn an_answer_is_an_array_and_a_handlers_event_comes_whole() {
    let given = json("answer", "[1, 2] ".to_owned(), Vec::new()).unwrap();
    assert_eq!(given.json, "[1, 2]");
    assert_eq!(
        json("answer", String::new(), Vec::new()).unwrap().json,
        "[]"
    );
    let wrong = json("answer", "7".to_owned(), Vec::new()).unwrap_err();
    assert_eq!(wrong.message, "answer.args: payload is not an array");
    let out = handled_event_of(Event {
        name: "line".to_owned(),
        args: vec![Bytes::from_static(b"\"a\""), Bytes::from_static(b"1.0")],
        attachments: vec![Bytes::from_static(b"x")],
    });
    assert_eq!(
        (out.name.as_str(), out.args.as_str()),
        ("line", r#"["a",1.0]"#)
    );
    assert_eq!(out.attachments.len(), 1);
}

#[test]
fn names_and_numbers_out_of_bounds_are_refused_by_field() {
    let many = vec!["r".to_owned(); limits::TARGET_NAMES_MAX];
    let of = |rooms: &[String], except: &[String]| {
        target(Some(api::Target {
            rooms: rooms.to_vec(),
            except: except.to_vec(),
        }))
        .map_err(|refusal| refusal.message.into_owned())
    };
    let one = ["r".to_owned()];
    assert!(of(&many, &[]).is_ok());
    assert_eq!(
        of(&many, &one),
        Err("rooms and except have at most 1000 names together".into())
    );
    assert_eq!(
        of(&[&many[..], &one].concat(), &[]),
        Err("rooms has at most 1000 names".into())
    );
    assert_eq!(
        of(&one, &["x".into(), String::new()]),
        Err("except[1] is empty".into())
    );
    assert_eq!(target(None).unwrap().rooms, [""; 0]);
    assert_eq!(names(Vec::new()), Err(Refusal::invalid("rooms is empty")));

    assert_eq!(namespace(String::new()).unwrap(), "/");
    for (name, words) in [
        ("chat".to_owned(), "namespace must begin with a slash"),
        (
            format!("/{}", "x".repeat(256)),
            "namespace has at most 256 bytes",
        ),
        (
            "/a,b".to_owned(),
            "namespace has neither commas nor control characters",
        ),
    ] {
        assert_eq!(namespace(name), Err(Refusal::invalid(words)));
    }
    assert_eq!(class(3), Err(Refusal::invalid("class is unknown")));
    assert_eq!(limit(0, 7).unwrap(), 7);
    assert_eq!(limit(8, 7), Err(Refusal::invalid("limit is at most 7")));
    assert_eq!(timeout(0).unwrap(), limits::ANSWER_DEADLINE);
    assert!(timeout(u32::MAX).is_err());
    assert_eq!(
        socket_id("after", "x"),
        Err(Refusal::invalid("after is no socket's id"))
    );
    assert_eq!(
        offset("after", "x"),
        Err(Refusal::invalid("after is no offset"))
    );
}

/// Clients retry by themselves what is `UNAVAILABLE`: only what surely was not written.
#[test]
fn every_refusal_has_its_status_at_each_door() {
    let of = |error: OperationError| Refusal::from(error);
    for (refusal, word, grpc, http) in [
        (
            of(OperationError::Invalid),
            "invalid",
            tonic::Code::InvalidArgument,
            400,
        ),
        (
            unauthenticated("who?"),
            "unauthenticated",
            tonic::Code::Unauthenticated,
            401,
        ),
        (
            Refusal::forbidden("no"),
            "forbidden",
            tonic::Code::PermissionDenied,
            403,
        ),
        (not_found("nobody"), "not_found", tonic::Code::NotFound, 404),
        (
            of(OperationError::KeyReused),
            "key_reused",
            tonic::Code::FailedPrecondition,
            409,
        ),
        (
            of(OperationError::TooLarge),
            "too_large",
            tonic::Code::InvalidArgument,
            413,
        ),
        (
            of(OperationError::Overloaded),
            "overloaded",
            tonic::Code::ResourceExhausted,
            503,
        ),
        (
            of(OperationError::Unavailable),
            "unavailable",
            tonic::Code::Unavailable,
            503,
        ),
        (
            of(OperationError::UnknownOutcome),
            "unknown_outcome",
            tonic::Code::DeadlineExceeded,
            504,
        ),
        (
            of(OperationError::Unanswered),
            "timeout",
            tonic::Code::DeadlineExceeded,
            504,
        ),
        (
            of(OperationError::Arguments),
            "internal",
            tonic::Code::Internal,
            500,
        ),
        (
            Refusal::new(Code::Other("odd"), "odd"),
            "odd",
            tonic::Code::Unknown,
            500,
        ),
    ] {
        let status = refusal_status(&refusal);
        assert_eq!(
            (status.code(), status.message()),
            (grpc, &*refusal.message),
            "{word}"
        );
        assert_eq!(status.metadata().get(CODE_METADATA).unwrap(), word);
        assert_eq!(
            http_status(refusal.code),
            StatusCode::from_u16(http).unwrap(),
            "{word}"
        );
        assert_eq!(error_of(&refusal).code, word);
    }
}
