//! Packets in msgpack: round trips, no panic on damage, and small messages that stay small.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use roomcast_proto::DecodeError;
use roomcast_proto::socketio::{
    Assembled, Decoder, Limits, Namespace, Outgoing, Packet, Parser, binary,
};
use serde_json::{Value, json};

const EVENT_BYTES_MAX: usize = 100_000;

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn decode(message: impl Into<Bytes>) -> Result<Option<Assembled>, DecodeError> {
    Decoder::new(Parser::Msgpack, Limits::SERVER, EVENT_BYTES_MAX).binary(message.into())
}

fn encode(data: &[u8], offset: Option<&str>, id: Option<u64>, attachments: &[Bytes]) -> Bytes {
    let messages = Parser::Msgpack.event(&Outgoing {
        namespace: "/",
        data,
        offset,
        id,
        attachments,
    });
    assert!(messages.text.is_empty() && messages.binary.len() == 1);
    messages.binary[0].clone()
}

/// Values with what is hard to carry; their placeholders are put in afterwards.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        r#"[\[\]{}",:\\a ]{0,40}"#.prop_map(Value::from),
        Just(json!({ "here": "binary" })),
    ];
    leaf.prop_recursive(4, 40, 20, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..20).prop_map(Value::from),
            vec((any::<String>(), inner), 0..20).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// Makes up to ten of the marked places placeholders, in the order of the text.
fn mark(value: &mut Value, count: &mut usize) {
    match value {
        Value::Object(members) if members.contains_key("here") && *count < 10 => {
            *value = binary::placeholder(*count);
            *count += 1;
        }
        Value::Object(members) => members.values_mut().for_each(|member| mark(member, count)),
        Value::Array(elements) => elements.iter_mut().for_each(|element| mark(element, count)),
        _ => {}
    }
}

/// An event's array and its attachments.
fn event() -> impl Strategy<Value = (Bytes, Vec<Bytes>)> {
    (vec(value(), 0..6), vec(vec(any::<u8>(), 0..300), 10)).prop_map(|(rest, binaries)| {
        let mut count = 0;
        let mut rest = Value::from(rest);
        mark(&mut rest, &mut count);
        let array = json!(["event", rest]);
        let attachments = binaries.into_iter().take(count).map(Bytes::from);
        (Bytes::from(array.to_string()), attachments.collect())
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn events_survive_the_wire_with_their_bytes(
        (data, attachments) in event(), id in any::<Option<u64>>(),
    ) {
        let decoded = decode(encode(&data, None, id, &attachments)).unwrap().unwrap();
        let packet = Packet::Event {
            namespace: Namespace::ROOT,
            id,
            data,
            attachments: attachments.len(),
        };
        prop_assert_eq!(decoded, Assembled::Whole { packet, attachments });
    }

    #[test]
    fn an_offset_becomes_the_last_argument(
        (data, attachments) in event(), offset in any::<String>(),
    ) {
        let decoded = decode(encode(&data, Some(&offset), None, &attachments)).unwrap().unwrap();
        let Assembled::Whole { packet: Packet::Event { data: stamped, .. }, .. } = decoded else {
            panic!("{decoded:?} is no event");
        };
        let open = std::str::from_utf8(&data).unwrap().strip_suffix(']').unwrap();
        let expected = format!("{open},{}]", Value::from(offset));
        prop_assert_eq!(std::str::from_utf8(&stamped).unwrap(), expected);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in vec(any::<u8>(), 0..256)) {
        drop(decode(bytes));
    }

    #[test]
    fn no_damage_to_a_packet_makes_the_decoder_panic(
        (data, attachments) in event(), cut in any::<prop::sample::Index>(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = encode(&data, None, Some(1), &attachments).to_vec();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let bytes = Bytes::from(bytes);
        for message in [bytes.clone(), bytes.slice(..cut.index(bytes.len()))] {
            if let Ok(Some(Assembled::Whole { packet, attachments })) = decode(message)
                && let Packet::Event { id, data, .. } = packet
            {
                // What decodes is JSON whose placeholders hold, and encodes.
                if !attachments.is_empty() {
                    binary::check_placeholders(&data, attachments.len()).unwrap();
                }
                serde_json::from_slice::<Value>(&data).unwrap();
                encode(&data, None, id, &attachments);
            }
        }
    }
}

/// `["e", …]` as a client writes it, its arguments given in bytes.
fn event_of(count: u8, arguments: &[u8]) -> Vec<u8> {
    let head = b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data";
    [&head[..], &[0x91 + count], b"\xa1e", arguments].concat()
}

#[test]
fn deep_nesting_neither_overflows_the_stack_nor_passes() {
    let too_deep = Err(DecodeError::TooDeep { max: 100 });
    assert_eq!(decode(event_of(1, &[0x91; 500_000])), too_deep);
    assert_eq!(decode(event_of(1, &b"\x81\xa1a".repeat(500_000))), too_deep);
    // Skipped without recursion, and then found to be cut off.
    let skipped = [&b"\x81\xa1x"[..], &[0x91; 500_000]].concat();
    let at = skipped.len();
    assert_eq!(decode(skipped), Err(DecodeError::Msgpack { at }));
}

#[test]
fn what_grows_as_json_is_kept_only_as_far_as_events_go() {
    // 200,000 bytes that would be 1,200,000 of JSON.
    let string = [&b"\xdb\x00\x03\x0d\x40"[..], &[1; 200_000]].concat();
    let Ok(Some(Assembled::TooLarge { packet, bytes })) = decode(event_of(1, &string)) else {
        panic!("it is too large");
    };
    assert_eq!(bytes, 1_200_000 + r#"["e",""]"#.len());
    let Packet::Event { data, .. } = packet else {
        panic!("it is an event");
    };
    assert!(data.is_empty());
}

#[test]
fn an_attachment_is_written_once_however_often_it_is_named() {
    let named = vec![binary::placeholder(0); 1000];
    let data = json!(["e", named]).to_string();
    let attachments = [Bytes::from(vec![7; 10_000])];
    let bytes = encode(data.as_bytes(), None, None, &attachments);
    assert!(bytes.len() < 12_000, "{}", bytes.len());
    assert!(bytes.ends_with(&[0xc0; 999]), "the others are nil");
}

#[test]
fn what_an_attachment_stands_beside_is_kept() {
    let data = r#"["e",[1,{"a":{"_placeholder":true,"x":[{},[]],"num":0},"b":[]}],2]"#;
    let bytes = encode(data.as_bytes(), None, None, &[Bytes::from_static(b"!")]);
    let expected = event_of(2, b"\x92\x01\x82\xa1a\xc4\x01!\xa1b\x90\x02");
    assert_eq!(bytes, expected);
}

#[test]
fn numbers_and_texts_without_an_exact_form_take_the_nearest() {
    for (json, bytes) in [
        ("-0", &b"\xcb\x80\0\0\0\0\0\0\0"[..]),
        ("1.0", b"\xcb\x3f\xf0\0\0\0\0\0\0"),
        ("1e2", b"\xcb\x40\x59\0\0\0\0\0\0"),
        ("18446744073709551616", b"\xcb\x43\xf0\0\0\0\0\0\0"),
        ("1e999", b"\xcb\x7f\xf0\0\0\0\0\0\0"),
        (r#""\ud800a""#, b"\xa4\xef\xbf\xbda"),
        (r#""\ud83d\ude00\n""#, b"\xa5\xf0\x9f\x98\x80\n"),
    ] {
        let data = format!(r#"["e",{json}]"#);
        let encoded = encode(data.as_bytes(), None, None, &[]);
        assert_eq!(encoded, event_of(1, bytes), "{json}");
    }
}

#[test]
fn the_parsers_do_not_understand_each_other() {
    let text = Bytes::from_static(b"0");
    let mut msgpack = Decoder::new(Parser::Msgpack, Limits::SERVER, EVENT_BYTES_MAX);
    assert_eq!(msgpack.text(text), Err(DecodeError::TextUnexpected));
    let mut json = Decoder::new(Parser::Json, Limits::SERVER, EVENT_BYTES_MAX);
    let message = Bytes::from(event_of(0, b""));
    assert_eq!(json.binary(message), Err(DecodeError::BinaryUnexpected));
}
