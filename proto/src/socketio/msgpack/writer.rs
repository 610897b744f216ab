//! msgpack, one item at a time, each in its shortest form.

use bytes::{BufMut, Bytes, BytesMut};

/// Appends items to a message.
#[derive(Debug)]
pub(super) struct Writer(BytesMut);

impl Writer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(BytesMut::with_capacity(bytes))
    }

    pub(super) fn finish(self) -> Bytes {
        self.0.freeze()
    }

    pub(super) fn nil(&mut self) {
        self.0.put_u8(0xc0);
    }

    pub(super) fn boolean(&mut self, value: bool) {
        self.0.put_u8(if value { 0xc3 } else { 0xc2 });
    }

    pub(super) fn unsigned(&mut self, value: u64) {
        match value {
            0..0x80 => self.0.put_u8(value as u8),
            0x80..0x100 => {
                self.0.put_u8(0xcc);
                self.0.put_u8(value as u8);
            }
            0x100..0x1_0000 => {
                self.0.put_u8(0xcd);
                self.0.put_u16(value as u16);
            }
            0x1_0000..0x1_0000_0000 => {
                self.0.put_u8(0xce);
                self.0.put_u32(value as u32);
            }
            _ => {
                self.0.put_u8(0xcf);
                self.0.put_u64(value);
            }
        }
    }

    pub(super) fn integer(&mut self, value: i64) {
        if let Ok(value) = u64::try_from(value) {
            self.unsigned(value);
        } else if value >= -0x20 {
            self.0.put_i8(value as i8);
        } else if let Ok(value) = i8::try_from(value) {
            self.0.put_u8(0xd0);
            self.0.put_i8(value);
        } else if let Ok(value) = i16::try_from(value) {
            self.0.put_u8(0xd1);
            self.0.put_i16(value);
        } else if let Ok(value) = i32::try_from(value) {
            self.0.put_u8(0xd2);
            self.0.put_i32(value);
        } else {
            self.0.put_u8(0xd3);
            self.0.put_i64(value);
        }
    }

    pub(super) fn float(&mut self, value: f64) {
        self.0.put_u8(0xcb);
        self.0.put_f64(value);
    }

    pub(super) fn string(&mut self, text: &str) {
        match text.len() {
            length @ 0..0x20 => self.0.put_u8(0xa0 | length as u8),
            length => self.length(length, [Some(0xd9), Some(0xda), Some(0xdb)]),
        }
        self.0.put_slice(text.as_bytes());
    }

    pub(super) fn binary(&mut self, bytes: &[u8]) {
        self.length(bytes.len(), [Some(0xc4), Some(0xc5), Some(0xc6)]);
        self.0.put_slice(bytes);
    }

    /// So many items follow.
    pub(super) fn array(&mut self, count: usize) {
        match count {
            0..0x10 => self.0.put_u8(0x90 | count as u8),
            _ => self.length(count, [None, Some(0xdc), Some(0xdd)]),
        }
    }

    /// So many pairs of items follow.
    pub(super) fn map(&mut self, count: usize) {
        match count {
            0..0x10 => self.0.put_u8(0x80 | count as u8),
            _ => self.length(count, [None, Some(0xde), Some(0xdf)]),
        }
    }

    /// A head and a length of 1, 2 or 4 bytes; no head, no such form.
    fn length(&mut self, length: usize, heads: [Option<u8>; 3]) {
        match (length, heads) {
            (0..0x100, [Some(head), _, _]) => {
                self.0.put_u8(head);
                self.0.put_u8(length as u8);
            }
            (0..0x1_0000, [_, Some(head), _]) => {
                self.0.put_u8(head);
                self.0.put_u16(length as u16);
            }
            (_, [_, _, head]) => {
                let length = u32::try_from(length).expect("an event has some megabytes at most");
                self.0.put_u8(head.unwrap_or_default());
                self.0.put_u32(length);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::with_capacity(0);
        write(&mut writer);
        writer.finish().to_vec()
    }

    /// The numbers are those of `notepack.io`, at the borders of their forms.
    #[test]
    fn integers_have_their_shortest_form() {
        for (value, bytes) in [
            (0, &b"\x00"[..]),
            (127, b"\x7f"),
            (128, b"\xcc\x80"),
            (255, b"\xcc\xff"),
            (256, b"\xcd\x01\x00"),
            (65_535, b"\xcd\xff\xff"),
            (65_536, b"\xce\x00\x01\x00\x00"),
            (4_294_967_295, b"\xce\xff\xff\xff\xff"),
            (4_294_967_296, b"\xcf\x00\x00\x00\x01\x00\x00\x00\x00"),
            (-1, b"\xff"),
            (-32, b"\xe0"),
            (-33, b"\xd0\xdf"),
            (-128, b"\xd0\x80"),
            (-129, b"\xd1\xff\x7f"),
            (-32_768, b"\xd1\x80\x00"),
            (-32_769, b"\xd2\xff\xff\x7f\xff"),
            (-2_147_483_648, b"\xd2\x80\x00\x00\x00"),
            (-2_147_483_649, b"\xd3\xff\xff\xff\xff\x7f\xff\xff\xff"),
        ] {
            assert_eq!(written(|writer| writer.integer(value)), bytes, "{value}");
        }
        assert_eq!(
            written(|writer| writer.unsigned(u64::MAX)),
            [&[0xcf][..], &[0xff; 8]].concat()
        );
    }

    #[test]
    fn lengths_have_their_shortest_form() {
        let text = |length| written(|writer| writer.string(&"x".repeat(length)));
        for (length, head) in [
            (31, &b"\xbf"[..]),
            (32, b"\xd9\x20"),
            (255, b"\xd9\xff"),
            (256, b"\xda\x01\x00"),
            (65_535, b"\xda\xff\xff"),
            (65_536, b"\xdb\x00\x01\x00\x00"),
        ] {
            let text = text(length);
            assert_eq!(text.split_at(head.len()).0, head);
            assert_eq!(text.len(), head.len() + length);
        }
        for (length, head) in [(0, &b"\xc4\x00"[..]), (256, b"\xc5\x01\x00")] {
            let binary = written(|writer| writer.binary(&vec![b'x'; length]));
            assert_eq!(binary.split_at(head.len()).0, head);
        }
        for (count, array, map) in [
            (15, &b"\x9f"[..], &b"\x8f"[..]),
            (16, b"\xdc\x00\x10", b"\xde\x00\x10"),
            (65_536, b"\xdd\x00\x01\x00\x00", b"\xdf\x00\x01\x00\x00"),
        ] {
            assert_eq!(written(|writer| writer.array(count)), array);
            assert_eq!(written(|writer| writer.map(count)), map);
        }
    }
}
