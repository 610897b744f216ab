//! Whether a value stands for no argument, one or several, as it would serialize.

use std::fmt;

use serde::ser::{Error, Impossible, Serialize, Serializer};

/// See the module's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `()`.
    None,
    /// Anything else.
    One,
    /// A tuple or an array of fixed length.
    Many,
}

impl Shape {
    pub(super) fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        match value.serialize(Probe) {
            Err(Found(shape)) => shape,
            Ok(never) => match never {},
        }
    }
}

/// A serializer that looks at the first call only, and reports it as an error: nothing is written.
struct Probe;

/// What the first call was.
#[derive(Debug)]
struct Found(Shape);

/// The probe always ends with [`Found`].
#[derive(Debug)]
enum Never {}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Found {}

impl Error for Found {
    /// A value that cannot be serialized at all: the real serializer will say so.
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(Shape::One)
    }
}

macro_rules! found {
    ($($method:ident($($argument:ty),*) $shape:ident;)+) => {
        $(fn $method(self, $(_: $argument),*) -> Result<Never, Found> {
            Err(Found(Shape::$shape))
        })+
    };
}

macro_rules! found_compound {
    ($($method:ident($($argument:ty),*) $compound:ident $shape:ident;)+) => {
        $(fn $method(self, $(_: $argument),*) -> Result<Self::$compound, Found> {
            Err(Found(Shape::$shape))
        })+
    };
}

impl Serializer for Probe {
    type Ok = Never;
    type Error = Found;
    type SerializeSeq = Impossible<Never, Found>;
    type SerializeTuple = Impossible<Never, Found>;
    type SerializeTupleStruct = Impossible<Never, Found>;
    type SerializeTupleVariant = Impossible<Never, Found>;
    type SerializeMap = Impossible<Never, Found>;
    type SerializeStruct = Impossible<Never, Found>;
    type SerializeStructVariant = Impossible<Never, Found>;

    found! {
        serialize_bool(bool) One;
        serialize_i8(i8) One;
        serialize_i16(i16) One;
        serialize_i32(i32) One;
        serialize_i64(i64) One;
        serialize_i128(i128) One;
        serialize_u8(u8) One;
        serialize_u16(u16) One;
        serialize_u32(u32) One;
        serialize_u64(u64) One;
        serialize_u128(u128) One;
        serialize_f32(f32) One;
        serialize_f64(f64) One;
        serialize_char(char) One;
        serialize_str(&str) One;
        serialize_bytes(&[u8]) One;
        serialize_none() One;
        serialize_unit() None;
        serialize_unit_struct(&'static str) One;
        serialize_unit_variant(&'static str, u32, &'static str) One;
    }

    found_compound! {
        serialize_seq(Option<usize>) SerializeSeq One;
        serialize_tuple(usize) SerializeTuple Many;
        serialize_tuple_struct(&'static str, usize) SerializeTupleStruct One;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) SerializeTupleVariant One;
        serialize_map(Option<usize>) SerializeMap One;
        serialize_struct(&'static str, usize) SerializeStruct One;
        serialize_struct_variant(&'static str, u32, &'static str, usize)
            SerializeStructVariant One;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Never, Found> {
        Err(Found(Shape::One))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: &T,
    ) -> Result<Never, Found> {
        Err(Found(Shape::One))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Never, Found> {
        Err(Found(Shape::One))
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Result<Never, Found> {
        Err(Found(Shape::One))
    }
}
