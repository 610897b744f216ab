//! What holds for all packets, and for all bytes: round trips, and no panic on damage.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use roomcast_proto::Offset;
use roomcast_proto::engineio::{self, OpenPacket, Query, base64, payload};
use roomcast_proto::socketio::{
    self, Assembled, Assembler, Limits, Namespace, Packet, args, binary, encode,
};
use serde_json::{Value, json};

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Values with what is hard to carry: quotes, escapes, brackets in strings, placeholders.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        r#"[\[\]{}",:\\a ]{0,8}"#.prop_map(Value::from),
        (0_usize..6).prop_map(binary::placeholder),
        prop_oneof![any::<f64>(), Just(0.5), Just(-0.0), Just(2.0), Just(5.0)]
            .prop_map(|num| json!({ "_placeholder": true, "num": num })),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let key = prop_oneof![
            any::<String>(),
            Just("_placeholder".into()),
            Just("num".into())
        ];
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((key, inner), 0..4).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

fn json_bytes(value: &Value) -> Bytes {
    Bytes::from(serde_json::to_vec(value).expect("a value always serializes"))
}

fn namespace() -> impl Strategy<Value = Namespace> {
    let other =
        "/[^,\\p{Cc}]{0,12}".prop_map(|name| Namespace::new(&name).expect("no comma, no control"));
    prop_oneof![Just(Namespace::ROOT), other]
}

fn event_array() -> impl Strategy<Value = Bytes> {
    let name = prop_oneof![
        any::<String>()
            .prop_filter("reserved", |name| {
                !args::RESERVED_EVENT_NAMES.contains(&name.as_str())
            })
            .prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
    ];
    (name, vec(value(), 0..4)).prop_map(|(name, mut rest)| {
        rest.insert(0, name);
        json_bytes(&Value::from(rest))
    })
}

fn object() -> impl Strategy<Value = Bytes> {
    vec((any::<String>(), value()), 0..3)
        .prop_map(|members| json_bytes(&members.into_iter().collect()))
}

fn packet() -> impl Strategy<Value = Packet> {
    let array = vec(value(), 0..4).prop_map(|rest| json_bytes(&Value::from(rest)));
    prop_oneof![
        (namespace(), proptest::option::of(object()))
            .prop_map(|(namespace, auth)| Packet::Connect { namespace, auth }),
        namespace().prop_map(|namespace| Packet::Disconnect { namespace }),
        (
            namespace(),
            any::<Option<u64>>(),
            event_array(),
            0_usize..=10
        )
            .prop_map(|(namespace, id, data, attachments)| Packet::Event {
                namespace,
                id,
                data,
                attachments
            }),
        (namespace(), any::<u64>(), array, 0_usize..=10).prop_map(
            |(namespace, id, data, attachments)| Packet::Ack {
                namespace,
                id,
                data,
                attachments
            }
        ),
        (namespace(), object())
            .prop_map(|(namespace, data)| Packet::ConnectError { namespace, data }),
    ]
}

fn message(text: Bytes) -> Bytes {
    match engineio::Packet::decode_text(text) {
        Ok(engineio::Packet::Message(message)) => message,
        other => panic!("{other:?} is no message"),
    }
}

/// Everything that reads what peers send; the outcome does not matter, that there is one does.
fn decode_with_all(bytes: &Bytes) {
    drop(engineio::Packet::decode_text(bytes.clone()));
    drop(payload::decode(bytes, 16));
    drop(OpenPacket::decode(bytes));
    drop(base64::decode(bytes));
    drop(args::split(bytes));
    drop(args::event_name(bytes));
    drop(args::check_event(bytes, 100));
    drop(binary::check_placeholders(bytes, 3));
    drop(Query::parse(&String::from_utf8_lossy(bytes)));
    drop(String::from_utf8_lossy(bytes).parse::<Offset>());
    if let Ok(packet) = socketio::decode(bytes.clone(), &Limits::SERVER) {
        let again = socketio::decode(message(encode::packet(&packet)), &Limits::SERVER);
        assert_eq!(again, Ok(packet.clone()), "what decodes also encodes");
        drop(Assembler::new(1000).text(packet));
    }
}

/// The meaning of placeholders, by way of values.
fn placeholders_are_within(value: &Value, count: usize) -> bool {
    match value {
        Value::Array(elements) => elements.iter().all(|v| placeholders_are_within(v, count)),
        Value::Object(members) => {
            let named = binary::placeholder_number(value).is_some_and(|n| n < count);
            let number = members.get("num").and_then(Value::as_f64);
            let whole = number.is_some_and(|n| n.fract() == 0.0 && n >= 0.0 && n < count as f64);
            let legal = members.get("_placeholder") != Some(&Value::Bool(true)) || named || whole;
            legal && members.values().all(|v| placeholders_are_within(v, count))
        }
        _ => true,
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn packets_survive_the_wire(packet in packet()) {
        let decoded = socketio::decode(message(encode::packet(&packet)), &Limits::SERVER);
        prop_assert_eq!(decoded, Ok(packet));
    }

    #[test]
    fn an_offset_becomes_the_last_argument_and_nothing_else_changes(
        namespace in namespace(), array in event_array(), offset in any::<String>(),
        id in any::<Option<u64>>(), attachments in 0_usize..=10,
    ) {
        let text = encode::event(&namespace, &array, Some(&offset), id, attachments);
        let decoded = socketio::decode(message(text), &Limits::SERVER).unwrap();
        let mut expected = args::split(&array).unwrap();
        expected.push(json_bytes(&Value::from(offset)));
        let data = args::join(&expected);
        prop_assert_eq!(decoded, Packet::Event { namespace, id, data, attachments });
    }

    #[test]
    fn splitting_and_joining_are_inverse(values in vec(value(), 0..6)) {
        let array = json_bytes(&Value::from(values.clone()));
        let elements = args::split(&array).unwrap();
        let expected: Vec<Bytes> = values.iter().map(json_bytes).collect();
        prop_assert_eq!(&elements, &expected);
        prop_assert_eq!(args::join(&elements), array);
    }

    #[test]
    fn placeholders_are_judged_as_their_values_are(value in value(), count in 0_usize..6) {
        let judged = binary::check_placeholders(&json_bytes(&value), count);
        prop_assert_eq!(judged.is_ok(), placeholders_are_within(&value, count));
    }

    #[test]
    fn attachments_come_back_in_their_order(
        sent in vec(vec(any::<u8>(), 0..20), 0..=10), namespace in namespace(),
    ) {
        let sent: Vec<Bytes> = sent.into_iter().map(Bytes::from).collect();
        let places: Vec<Value> = (0..sent.len()).map(binary::placeholder).collect();
        let data = json_bytes(&json!(["e", places]));
        let packet = Packet::Event { namespace, id: None, data, attachments: sent.len() };
        let mut assembler = Assembler::new(1_000_000);
        let mut outcome = assembler.text(packet.clone());
        for attachment in &sent {
            prop_assert_eq!(outcome, Ok(None));
            outcome = assembler.binary(attachment.clone());
        }
        prop_assert_eq!(outcome, Ok(Some(Assembled::Whole { packet, attachments: sent })));
    }

    #[test]
    fn engine_packets_survive_the_wire(text in any::<String>(), bytes in vec(any::<u8>(), 0..64)) {
        use engineio::Packet;
        let text = Bytes::from(text);
        let packets = [
            Packet::Open(text.clone()), Packet::Close, Packet::Ping(text.clone()),
            Packet::Pong(text.clone()), Packet::Message(text), Packet::Binary(Bytes::from(bytes)),
            Packet::Upgrade, Packet::Noop,
        ];
        for packet in packets {
            prop_assert_eq!(Packet::decode_text(packet.encode_text()), Ok(packet));
        }
    }

    #[test]
    fn base64_has_one_text_per_value(text in "[A-Da-d+/=]{0,8}") {
        if let Ok(bytes) = base64::decode(text.as_bytes()) {
            prop_assert_eq!(base64::encode(&bytes), text);
        }
    }

    #[test]
    fn offsets_survive_the_wire(epoch in any::<u64>(), index in any::<u64>(), op in any::<u32>()) {
        let offset = Offset { epoch, index, op };
        prop_assert_eq!(offset.to_string().parse(), Ok(offset));
    }

    #[test]
    fn offsets_have_one_text_per_value(text in "[+-]?[0-9a-zA]{1,14}(\\.[0-9a-z]{1,14}){1,3}") {
        if let Ok(offset) = text.parse::<Offset>() {
            prop_assert_eq!(offset.to_string(), text);
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in vec(any::<u8>(), 0..256)) {
        decode_with_all(&Bytes::from(bytes));
    }

    #[test]
    fn no_text_of_the_grammar_makes_a_decoder_panic(
        text in r#"[0-6]?[0-9\-]{0,3}(/a?,?)?[0-9]{0,3}[\[\]{}",:0-9a\\u€ .]{0,40}"#,
    ) {
        decode_with_all(&Bytes::from(text));
    }

    #[test]
    fn no_damage_to_a_packet_makes_a_decoder_panic(
        packet in packet(), cut in any::<prop::sample::Index>(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encode::packet(&packet).to_vec();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let bytes = Bytes::from(bytes);
        decode_with_all(&bytes);
        decode_with_all(&bytes.slice(1..));
        decode_with_all(&bytes.slice(..cut.index(bytes.len())));
    }
}

#[test]
fn deep_nesting_neither_overflows_the_stack_nor_passes() {
    for open in ["[", "{\"a\":"] {
        let text = Bytes::from(format!("2[\"e\",{}", open.repeat(500_000)));
        assert!(socketio::decode(text, &Limits::SERVER).is_err());
    }
    let closed = format!("2[\"e\",{}{}]", "[".repeat(300_000), "]".repeat(300_000));
    let outcome = socketio::decode(Bytes::from(closed), &Limits::SERVER);
    assert_eq!(
        outcome,
        Err(roomcast_proto::DecodeError::TooDeep { max: 100 })
    );
}

#[test]
fn what_the_client_limits_accept_serde_json_can_parse() {
    let nested = |depth: usize| format!("[\"e\",{}{}]", "[".repeat(depth), "]".repeat(depth));
    let deepest = Limits::CLIENT.json_depth_max - 1;
    let text = nested(deepest);
    assert!(socketio::decode(Bytes::from(format!("2{text}")), &Limits::CLIENT).is_ok());
    assert!(serde_json::from_str::<Value>(&text).is_ok());
    let text = nested(deepest + 1);
    assert!(socketio::decode(Bytes::from(format!("2{text}")), &Limits::CLIENT).is_err());
    assert!(serde_json::from_str::<Value>(&text).is_err());
}
