//! Arguments of events and answers: Rust types in handlers, a JSON array on the wire.
//!
//! A tuple is several arguments, `()` is none, anything else is one. A client may leave out
//! trailing arguments that are optional, and may send more than the handler takes: the rest is
//! ignored, as by a JavaScript function.

mod read;
mod shape;

use bytes::Bytes;
use serde::Serialize;

pub use read::ArgumentError;
pub(crate) use read::read;
use shape::Shape;

/// An event: a JSON array, name first.
pub(crate) fn event<A: Serialize + ?Sized>(
    name: &str,
    args: &A,
) -> Result<Bytes, serde_json::Error> {
    let mut text = vec![b'['];
    serde_json::to_writer(&mut text, name)?;
    let before = text.len();
    text.push(b',');
    write(&mut text, args)?;
    if text.len() == before + 1 {
        text.truncate(before);
    }
    text.push(b']');
    Ok(text.into())
}

/// An answer: a JSON array.
pub(crate) fn array<A: Serialize + ?Sized>(args: &A) -> Result<Bytes, serde_json::Error> {
    let mut text = vec![b'['];
    write(&mut text, args)?;
    text.push(b']');
    Ok(text.into())
}

/// Writes the arguments with commas between them.
fn write<A: Serialize + ?Sized>(text: &mut Vec<u8>, args: &A) -> Result<(), serde_json::Error> {
    match Shape::of(args) {
        Shape::None => Ok(()),
        Shape::One => serde_json::to_writer(text, args),
        Shape::Many => {
            let list = serde_json::to_vec(args)?;
            text.extend_from_slice(&list[1..list.len() - 1]);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tuple_is_several_arguments_and_anything_else_is_one() {
        let event = |args: &dyn erased::Args| args.event();
        for (args, expected) in [
            (&() as &dyn erased::Args, r#"["e"]"#),
            (&"text", r#"["e","text"]"#),
            (&("a", 1, true), r#"["e","a",1,true]"#),
            (&(json!([1, 2]),), r#"["e",[1,2]]"#),
            (&vec![1, 2], r#"["e",[1,2]]"#),
            (&[1, 2], r#"["e",1,2]"#),
            (&None::<u8>, r#"["e",null]"#),
            (&Some((1, 2)), r#"["e",[1,2]]"#),
            (&json!({ "a": 1 }), r#"["e",{"a":1}]"#),
            (&&&("a", "b"), r#"["e","a","b"]"#),
        ] {
            assert_eq!(event(args), expected);
        }
        assert_eq!(array(&()).unwrap(), "[]");
        assert_eq!(array(&(1, "x")).unwrap(), r#"[1,"x"]"#);
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        let keys = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert!(array(&keys).is_err());
        assert!(event("e", &("fine", keys)).is_err());
    }

    /// Values of different types in one table.
    mod erased {
        use super::super::event;

        pub(super) trait Args {
            fn event(&self) -> String;
        }

        impl<T: serde::Serialize> Args for T {
            fn event(&self) -> String {
                String::from_utf8(event("e", self).unwrap().to_vec()).unwrap()
            }
        }
    }
}
