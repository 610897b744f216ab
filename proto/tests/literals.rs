//! What is written and read besides single packets, against literal bytes.

use bytes::Bytes;
use roomcast_proto::DecodeError;
use roomcast_proto::engineio::{self, HandshakeError, OpenPacket, Query, RequestKind, Transport};
use roomcast_proto::socketio::{Assembled, Assembler, Limits, args, decode, encode};
use roomcast_proto::websocket::{self, Decoder, Event, FrameError};

#[test]
fn a_query_with_too_many_parameters_is_a_bad_request() {
    let largest = vec!["a=1"; engineio::handshake::QUERY_PARAMETERS_MAX].join("&");
    assert!(Query::parse(&largest).is_ok());
    assert_eq!(
        Query::parse(&format!("{largest}&a")),
        Err(HandshakeError::BadRequest)
    );
}

#[test]
fn only_enabled_transports_are_known() {
    let query = Query::parse("EIO=4&transport=polling&b64=1").unwrap();
    assert_eq!(query.get("b64"), Some("1"));
    assert_eq!(
        query.verify(RequestKind::Get, &[Transport::WebSocket]),
        Err(HandshakeError::UnknownTransport)
    );
}

#[test]
fn refusals_that_the_caller_decides_have_the_reference_bodies() {
    let bodies = [
        (
            HandshakeError::UnknownSid,
            400,
            r#"{"code":1,"message":"Session ID unknown"}"#,
        ),
        (
            HandshakeError::FORBIDDEN,
            403,
            r#"{"code":4,"message":"Forbidden"}"#,
        ),
        (
            HandshakeError::Forbidden("a \"b\"".into()),
            403,
            r#"{"code":4,"message":"a \"b\""}"#,
        ),
    ];
    for (error, status, body) in bodies {
        assert_eq!((error.status(), error.body().as_str()), (status, body));
    }
}

#[test]
fn the_open_packet_has_the_reference_members_in_its_order() {
    let open = OpenPacket {
        sid: "lv_VI97HAXpY6yYWAAAC".to_owned(),
        upgrades: vec!["websocket".to_owned()],
        ping_interval_ms: 25_000,
        ping_timeout_ms: 20_000,
        max_payload: 1_000_000,
    };
    let wire = concat!(
        r#"0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"#,
        r#""pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#,
    );
    assert_eq!(open.encode(), wire);
    let Ok(engineio::Packet::Open(data)) = engineio::Packet::decode_text(open.encode()) else {
        panic!("an open packet decodes as one");
    };
    assert_eq!(OpenPacket::decode(&data), Ok(open));
    assert_eq!(
        OpenPacket::decode(br#"{"sid":"a"}"#),
        Err(DecodeError::OpenPacket)
    );
}

#[test]
fn events_are_written_as_these_bytes() {
    let event = br#"["bc",{"a":1}]"#;
    let written = [
        (
            encode::event("/", event, Some("1.a.0"), None, 0),
            r#"42["bc",{"a":1},"1.a.0"]"#,
        ),
        (
            encode::event("/ns", event, Some("1.a.0"), Some(7), 0),
            r#"42/ns,7["bc",{"a":1},"1.a.0"]"#,
        ),
        (
            encode::event("/", event, None, Some(0), 0),
            r#"420["bc",{"a":1}]"#,
        ),
        (
            encode::event("/", event, None, None, 2),
            r#"452-["bc",{"a":1}]"#,
        ),
        (
            encode::event(
                "/ns",
                br#"["b",{"_placeholder":true,"num":0}]"#,
                Some("z"),
                Some(3),
                1,
            ),
            r#"451-/ns,3["b",{"_placeholder":true,"num":0},"z"]"#,
        ),
        (
            encode::event("/", b"[\"a\" ] \n", Some("z"), None, 0),
            r#"42["a" ,"z"]"#,
        ),
        (
            encode::event("/", b"[ ]", Some("z"), None, 0),
            r#"42[ "z"]"#,
        ),
        (
            encode::event("/", b"[1]", Some("\"\n"), None, 0),
            r#"42[1,"\"\n"]"#,
        ),
    ];
    for (bytes, wire) in written {
        assert_eq!(bytes, wire);
    }
}

#[test]
fn answers_and_requests_are_written_as_these_bytes() {
    let written = [
        (encode::ack("/", 456, b"[]", 0), "43456[]"),
        (encode::ack("/ns", 0, b"[1]", 0), "43/ns,0[1]"),
        (encode::ack("/ns", 0, b"[1]", 1), "461-/ns,0[1]"),
        (encode::connect("/", "S", None, None), r#"40{"sid":"S"}"#),
        (
            encode::connect("/ns", "S", Some("P"), None),
            r#"40/ns,{"sid":"S","pid":"P"}"#,
        ),
        (
            encode::connect("/", "S", Some("P"), Some(br#"{"ok":true,"from":"1.2.3"}"#)),
            r#"40{"sid":"S","pid":"P","resume":{"ok":true,"from":"1.2.3"}}"#,
        ),
        (
            encode::connect_error("/", "no \"x\"", None),
            r#"44{"message":"no \"x\""}"#,
        ),
        (
            encode::connect_error("/x", "no", Some(b"[1]")),
            r#"44/x,{"message":"no","data":[1]}"#,
        ),
        (encode::connect_request("/", None), "40"),
        (encode::connect_request("/x", None), "40/x,"),
        (
            encode::connect_request("/x", Some(br#"{"a":1}"#)),
            r#"40/x,{"a":1}"#,
        ),
        (encode::disconnect("/"), "41"),
        (encode::disconnect("/x"), "41/x,"),
    ];
    for (bytes, wire) in written {
        assert_eq!(bytes, wire);
    }
}

#[test]
fn an_array_splits_into_slices_of_itself() {
    let array = Bytes::from_static(br#" [ "a\"," , {"b":[1,2]},[] ,-1.5e3,null ] "#);
    let elements = args::split(&array).unwrap();
    assert_eq!(
        elements,
        [r#""a\",""#, r#"{"b":[1,2]}"#, "[]", "-1.5e3", "null"]
    );
    let within = array.as_ptr_range();
    assert!(
        elements
            .iter()
            .all(|element| within.contains(&element.as_ptr()))
    );
    assert_eq!(
        args::join(&elements),
        r#"["a\",",{"b":[1,2]},[],-1.5e3,null]"#
    );
    assert_eq!(args::join(&[]), "[]");
    assert_eq!(args::split(&Bytes::from_static(b"[]")), Ok(Vec::new()));
    for wrong in [&b"{}"[..], b"1", b"", b"[1", b"[1]x", b"[1,]", b"[1 2]"] {
        let outcome = args::split(&Bytes::from_static(wrong));
        assert!(
            matches!(outcome, Err(DecodeError::Json { .. })),
            "{wrong:?}: {outcome:?}"
        );
    }
}

#[test]
fn splitting_stops_at_its_bound() {
    let array = |count: usize| Bytes::from(format!("[{}]", vec!["1"; count].join(",")));
    assert_eq!(
        args::split(&array(args::ARGUMENTS_MAX)).unwrap().len(),
        args::ARGUMENTS_MAX
    );
    let outcome = args::split(&array(args::ARGUMENTS_MAX + 1));
    assert_eq!(
        outcome,
        Err(DecodeError::TooManyArguments {
            max: args::ARGUMENTS_MAX
        })
    );
}

#[test]
fn event_names_are_read_and_checked_where_backends_bring_them() {
    let name = |array: &'static str| args::event_name(&Bytes::from_static(array.as_bytes()));
    assert_eq!(name(r#"["a\u0062",1]"#), Ok("ab".to_owned()));
    assert_eq!(name("[ 17 ]"), Ok("17".to_owned()));
    assert_eq!(name("[]"), Err(DecodeError::EventName));
    assert_eq!(
        name("{}"),
        Err(DecodeError::PayloadKind {
            expected: "an array"
        })
    );
    let check = |array: &'static str| args::check_event(&Bytes::from_static(array.as_bytes()), 3);
    assert_eq!(
        check(" [\"a\",[[]]]\n"),
        Ok(Bytes::from_static(b"[\"a\",[[]]]"))
    );
    assert_eq!(
        check("[\"a\",[[[]]]]"),
        Err(DecodeError::TooDeep { max: 3 })
    );
    assert_eq!(
        check("[\"connect\"]"),
        Err(DecodeError::ReservedEventName("connect"))
    );
    assert_eq!(
        check("{}"),
        Err(DecodeError::PayloadKind {
            expected: "an array"
        })
    );
    assert!(matches!(check("[\"a\""), Err(DecodeError::Json { .. })));
}

#[test]
fn attachments_that_are_too_large_together_are_not_kept() {
    let header = decode(Bytes::from_static(b"53-[\"a\"]"), &Limits::SERVER).unwrap();
    let mut assembler = Assembler::new(100);
    assert_eq!(assembler.text(header.clone()), Ok(None));
    let messages = [
        Bytes::from(vec![0; 60]),
        Bytes::from(vec![0; 60]),
        Bytes::from(vec![0; 60]),
    ];
    assert_eq!(assembler.binary(messages[0].clone()), Ok(None));
    assert!(!messages[0].is_unique(), "what may still fit is kept");
    assert_eq!(assembler.binary(messages[1].clone()), Ok(None));
    assert!(
        messages[0].is_unique() && messages[1].is_unique(),
        "what cannot fit is dropped"
    );
    let outcome = assembler.binary(messages[2].clone());
    assert_eq!(
        outcome,
        Ok(Some(Assembled::TooLarge {
            packet: header,
            bytes: 185
        }))
    );
}

/// What becomes of a client's close frame with this payload; the mask is zero.
fn close_frame(payload: &[u8]) -> Result<Option<Event>, FrameError> {
    let limits = websocket::Limits {
        message_bytes_max: 0,
        fragments_max: 0,
        reserve_bytes_max: 0,
    };
    let head = [0x88, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    Decoder::new(limits, &[&head, payload].concat()).next()
}

#[test]
fn close_frames_have_a_code_that_may_be_sent_and_a_text() {
    let closed = Ok(Some(Event::Close));
    assert_eq!(close_frame(b""), closed);
    for code in [1000_u16, 1003, 1007, 1014, 3000, 4999] {
        let payload = [&code.to_be_bytes()[..], "gone €".as_bytes()].concat();
        assert_eq!(close_frame(&payload), closed, "{code}");
    }
    let refused = Err(FrameError::Violation("close code that is not to be sent"));
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535] {
        assert_eq!(close_frame(&code.to_be_bytes()), refused, "{code}");
    }
    let half = Err(FrameError::Violation("close frame with half a code"));
    assert_eq!(close_frame(b"\x03"), half);
    let text = Err(FrameError::Violation("close reason is not utf-8"));
    assert_eq!(close_frame(b"\x03\xe8\xff"), text);
}
