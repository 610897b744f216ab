//! What holds for all packets, and for all bytes: round trips, and no panic on damage.

mod checks;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use roomcast_proto::Offset;
use roomcast_proto::engineio::{self, base64};
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

/// A masked frame of a client.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len @ 126..=65_535 => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    let mask = [0x12, 0x9a, 0x00, 0xff];
    frame.extend(mask);
    let masked = payload.iter().zip(mask.into_iter().cycle());
    frame.extend(masked.map(|(byte, key)| byte ^ key));
    frame
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => Just(0x81_u8), 8 => Just(0x82), 4 => Just(0x01), 4 => Just(0x00), 6 => Just(0x80),
        3 => Just(0x89), 2 => Just(0x8a), 1 => Just(0x88), 1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        6 => vec(b'a'..=b'z', 0..200),
        1 => vec(any::<u8>(), 0..20),
        1 => (8_000_usize..40_000).prop_map(|len| vec![b'q'; len]),
    ];
    (first, payload).prop_map(|(first, payload)| masked(first, &payload))
}

/// Everything that reads what peers send.
fn decode_with_all(bytes: &[u8]) {
    for name in checks::table::NAMES {
        checks::run(name, bytes);
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
        prop_assert_eq!(judged.is_ok(), checks::socketio::placeholders_are_within(&value, count));
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

    /// Whatever the bytes and the pieces, our decoder sees what the library sees.
    #[test]
    fn frames_are_decoded_as_a_library_does(
        frames in vec(frame(), 1..12),
        damage in proptest::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>())),
        cut in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
        piece in prop_oneof![Just(1_usize), 2_usize..50, Just(8192)],
    ) {
        let mut bytes = frames.concat();
        if let Some((at, value)) = damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(at) = cut {
            bytes.truncate(at.index(bytes.len()));
        }
        checks::websocket::in_pieces(&bytes, piece, 50_000);
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in vec(any::<u8>(), 0..256)) {
        decode_with_all(&bytes);
    }

    #[test]
    fn no_text_of_the_grammar_makes_a_decoder_panic(
        text in r#"[0-6]?[0-9\-]{0,3}(/a?,?)?[0-9]{0,3}[\[\]{}",:0-9a\\u€ .]{0,40}"#,
    ) {
        decode_with_all(text.as_bytes());
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
        decode_with_all(&bytes);
        decode_with_all(&bytes[1..]);
        decode_with_all(&bytes[..cut.index(bytes.len())]);
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
