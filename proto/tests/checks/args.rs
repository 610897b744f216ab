//! The elements of an event's array, of bytes that did not pass the packet's decoder.

use bytes::Bytes;
use roomcast_proto::DecodeError;
use roomcast_proto::socketio::args::{self, ARGUMENTS_MAX, RESERVED_EVENT_NAMES};
use roomcast_proto::socketio::{self, Limits, Packet};
use serde::de::IgnoredAny;

/// The bytes as the array of an event.
pub(crate) fn args(bytes: &[u8]) {
    let array = Bytes::copy_from_slice(bytes);
    elements(&array);
    if let Ok(name) = args::event_name(&array) {
        assert!(!RESERVED_EVENT_NAMES.contains(&&name[..]));
    }
    let checked = args::check_event(&array, Limits::SERVER.json_depth_max);
    if let Ok(event) = &checked {
        let inner = &array[array.len() - array.trim_ascii_start().len()..];
        assert_eq!(&event[..], inner.trim_ascii_end(), "only whitespace goes");
        name(event);
    }
    if array.starts_with(b"[") {
        let text = Bytes::from([b"2", &array[..]].concat());
        let data = socketio::decode(text, &Limits::SERVER).map(|packet| match packet {
            Packet::Event { data, .. } => data,
            other => panic!("{other:?} is no event"),
        });
        assert_eq!(data, checked, "one judgement of an event, on either way in");
    }
}

/// What splits is whole, bounded, and splits again after it was joined. Answers the elements.
pub(crate) fn elements(array: &Bytes) -> Option<Vec<Bytes>> {
    let elements = match args::split(array) {
        Ok(elements) => elements,
        Err(DecodeError::TooManyArguments { max }) => {
            assert!(array.len() > max, "each takes a byte");
            return None;
        }
        Err(_) => return None,
    };
    assert!(elements.len() <= ARGUMENTS_MAX);
    let bytes: usize = elements.iter().map(|element| element.len() + 1).sum();
    assert!(
        bytes < array.len().max(2),
        "elements are slices of the array"
    );
    for element in &elements {
        let json = serde_json::from_slice::<IgnoredAny>(element);
        assert!(json.is_ok(), "an element is JSON by itself");
    }
    assert_eq!(args::split(&args::join(&elements)).as_ref(), Ok(&elements));
    Some(elements)
}

/// The name of a checked event is its first element.
pub(crate) fn name(event: &Bytes) {
    let name = args::event_name(event).expect("the event was checked");
    let Some(elements) = elements(event) else {
        return;
    };
    let first = elements.first().expect("a name is an element");
    let text = serde_json::from_slice::<String>(first);
    assert_eq!(name, text.unwrap_or_else(|_| number(first)));
}

fn number(element: &Bytes) -> String {
    let json = serde_json::from_slice::<IgnoredAny>(element);
    assert!(json.is_ok() && matches!(element[0], b'-' | b'0'..=b'9'));
    String::from_utf8(element.to_vec()).expect("a number is ASCII")
}
