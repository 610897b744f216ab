//! Reads a client's arguments as a Rust type; what is wrong is said in words, with its place.

use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

/// Arguments that are not what the handler takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ArgumentError(String);

impl Error for ArgumentError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// Reads arguments, each the client's own JSON text; see [`super`] for what is how many.
pub(crate) fn read<T: DeserializeOwned>(args: &[Bytes]) -> Result<T, ArgumentError> {
    T::deserialize(Arguments(args))
}

/// All arguments of an event: a sequence to a tuple, the first of them to anything else.
struct Arguments<'a>(&'a [Bytes]);

impl<'a> Arguments<'a> {
    /// Reads argument `index`; one that is not there is `null`.
    fn one<T>(
        &self,
        index: usize,
        read: impl FnOnce(
            &mut serde_json::Deserializer<serde_json::de::SliceRead<'a>>,
        ) -> serde_json::Result<T>,
    ) -> Result<T, ArgumentError> {
        let given: Option<&'a Bytes> = self.0.get(index);
        let text: &'a [u8] = given.map_or(b"null", |text| text);
        read(&mut serde_json::Deserializer::from_slice(text)).map_err(|error| {
            let number = index + 1;
            if given.is_none() {
                return ArgumentError(format!("argument {number} is missing"));
            }
            let text = error.to_string();
            // The place within one argument's text helps nobody.
            let words = text
                .rsplit_once(" at line ")
                .map_or(&*text, |(words, _)| words);
            ArgumentError(format!("argument {number}: {words}"))
        })
    }
}

macro_rules! first {
    ($($method:ident($($name:ident: $argument:ty),*);)+) => {
        $(fn $method<V: Visitor<'a>>(
            self,
            $($name: $argument,)*
            visitor: V,
        ) -> Result<V::Value, ArgumentError> {
            self.one(0, |argument| argument.$method($($name,)* visitor))
        })+
    };
}

impl<'a> Deserializer<'a> for Arguments<'a> {
    type Error = ArgumentError;

    first! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_option();
        deserialize_seq();
        deserialize_map();
        deserialize_identifier();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
    }

    fn deserialize_unit<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, ArgumentError> {
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(
        self,
        visitor: V,
    ) -> Result<V::Value, ArgumentError> {
        visitor.visit_unit()
    }

    fn deserialize_tuple<V: Visitor<'a>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, ArgumentError> {
        visitor.visit_seq(Sequence {
            arguments: self,
            next: 0,
            len,
        })
    }
}

/// As many arguments as a tuple has members.
struct Sequence<'a> {
    arguments: Arguments<'a>,
    next: usize,
    len: usize,
}

impl<'a> SeqAccess<'a> for Sequence<'a> {
    type Error = ArgumentError;

    fn next_element_seed<S: DeserializeSeed<'a>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ArgumentError> {
        if self.next == self.len {
            return Ok(None);
        }
        let index = self.next;
        self.next += 1;
        let read = self
            .arguments
            .one(index, |argument| seed.deserialize(argument));
        read.map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.len - self.next)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Line {
        room: String,
        text: Option<String>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Color {
        Red,
        Rgb(u8, u8, u8),
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Pair(u8, u8);

    fn args(texts: &[&'static str]) -> Vec<Bytes> {
        let texts = texts.iter().map(|text| text.as_bytes());
        texts.map(Bytes::from_static).collect()
    }

    fn get<T: DeserializeOwned>(texts: &[&'static str]) -> Result<T, String> {
        read(&args(texts)).map_err(|error| error.to_string())
    }

    #[test]
    fn one_type_is_one_argument_and_a_tuple_is_several() {
        assert_eq!(get(&[r#""hi""#]), Ok("hi".to_owned()));
        assert_eq!(get(&["7"]), Ok(7_u8));
        assert_eq!(get(&[r#""a""#, "1"]), Ok(("a".to_owned(), 1)));
        assert_eq!(get(&["[1,2]"]), Ok(vec![1, 2]));
        assert_eq!(get(&["1", "2"]), Ok([1, 2]));
        assert_eq!(get(&["[1,2]"]), Ok(Pair(1, 2)));
        assert_eq!(get(&[r#"{"a":[1]}"#]), Ok(json!({ "a": [1] })));
        assert_eq!(
            get(&[r#"{"a":1}"#]),
            Ok(BTreeMap::from([("a".to_owned(), 1)]))
        );
        assert_eq!(get(&[r#""red""#, "1"]), Ok((Color::Red, 1)));
        assert_eq!(get(&[r#"{"rgb":[1,2,3]}"#]), Ok(Color::Rgb(1, 2, 3)));
        let line = Line {
            room: "r".to_owned(),
            text: None,
        };
        assert_eq!(get(&[r#"{"room":"r"}"#]), Ok(line));
    }

    #[test]
    fn what_is_optional_may_be_left_out_and_more_is_ignored() {
        assert_eq!(get(&["1"]), Ok((1, None::<String>)));
        assert_eq!(get::<Option<u8>>(&[]), Ok(None));
        assert_eq!(get(&["1", "2", "3"]), Ok((1, 2)));
        assert_eq!(get(&["1", "2"]), Ok(1));
        assert_eq!(get(&["1"]), Ok(()));
        assert_eq!(get::<Value>(&[]), Ok(Value::Null));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (found, expected) in [
            (
                get::<(String, u8)>(&[r#""a""#, r#""b""#]).map(|_| ()),
                "argument 2: invalid type: string \"b\", expected u8",
            ),
            (get::<(u8, u8)>(&["1"]).map(|_| ()), "argument 2 is missing"),
            (get::<String>(&[]).map(|_| ()), "argument 1 is missing"),
            (
                get::<Line>(&["{}"]).map(|_| ()),
                "argument 1: missing field `room`",
            ),
            (
                get::<u8>(&["300"]).map(|_| ()),
                "argument 1: invalid value: integer `300`, expected u8",
            ),
            (
                get::<Color>(&[r#""blue""#]).map(|_| ()),
                "argument 1: unknown variant `blue`, expected `red` or `rgb`",
            ),
        ] {
            assert_eq!(found, Err(expected.to_owned()));
        }
    }
}
