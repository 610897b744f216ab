//! Compressed answers to polling GETs (`httpCompression` of the reference, on by default): gzip or
//! deflate, as the client's `Accept-Encoding` says, from a number of bytes on. Done at the node
//! that talks to the client; between nodes a payload travels as it is.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::Compression as Level;
use flate2::write::{GzEncoder, ZlibEncoder};
use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

use crate::limits;

/// When an answer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Never.
    Off,
    /// From this number of bytes on.
    From(usize),
}

/// A way to compress that the reference offers. Their order is what it prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Deflate,
}

impl Coding {
    /// What a client wants most of what there is; `None`: the body as it is.
    pub(super) fn accepted(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(ACCEPT_ENCODING).iter();
        let texts: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
        let wishes = || {
            let items = texts.iter().flat_map(|text| text.split(','));
            items
                .enumerate()
                .filter_map(|(place, item)| Wish::parse(place, item))
        };
        let codings = [Self::Gzip, Self::Deflate]
            .into_iter()
            .filter_map(|coding| {
                // A wish by name counts before `*`.
                let by_name = wishes().find(|wish| wish.name.eq_ignore_ascii_case(coding.name()));
                let wish = by_name.or_else(|| wishes().find(|wish| wish.name == "*"))?;
                (wish.quality > 0.0).then_some((coding, wish))
            });
        // The first of equals stays: what the client names first, then what we prefer.
        let wanted = codings.reduce(|best, other| match other.1.is_before(&best.1) {
            true => other,
            false => best,
        });
        wanted.map(|(coding, _)| coding)
    }

    /// Its name in `Content-Encoding`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }
}

/// One item of an `Accept-Encoding`.
struct Wish<'a> {
    /// Where it stands.
    place: usize,
    /// A coding, or `*`.
    name: &'a str,
    /// How much it is wanted; 0: not at all.
    quality: f32,
}

impl<'a> Wish<'a> {
    fn parse(place: usize, item: &'a str) -> Option<Self> {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let quality = parts.find_map(|part| part.strip_prefix("q="));
        // What is no number is no wish, as in the reference.
        let quality = quality.map_or(1.0, |text| text.parse().unwrap_or(0.0));
        Some(Self {
            place,
            name,
            quality,
        })
    }

    fn is_before(&self, other: &Self) -> bool {
        let by_name = |wish: &Self| wish.name != "*";
        if self.quality != other.quality {
            return self.quality > other.quality;
        }
        match (by_name(self), by_name(other)) {
            (true, false) => true,
            (false, true) => false,
            _ => self.place < other.place,
        }
    }
}

impl Compression {
    /// The coding for a body of this size.
    pub(super) fn coding(self, accepted: Option<Coding>, body_bytes: usize) -> Option<Coding> {
        match self {
            Self::From(bytes_min) if body_bytes >= bytes_min => accepted,
            _ => None,
        }
    }
}

/// Compresses a body. Gives way to other tasks as it goes: the largest takes milliseconds.
pub(super) async fn compress(coding: Coding, body: &Bytes) -> Bytes {
    let mut encoder = Encoder::new(coding);
    for (i, slice) in body.chunks(limits::COMPRESSION_SLICE_BYTES).enumerate() {
        if i > 0 {
            tokio::task::yield_now().await;
        }
        encoder.write(slice);
    }
    encoder.finish()
}

/// Compresses into memory, which does not fail.
pub(super) enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Deflate(ZlibEncoder<Vec<u8>>),
}

impl Encoder {
    pub(super) fn new(coding: Coding) -> Self {
        // The fastest level: four times as fast as the next that is notably smaller.
        match coding {
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), Level::fast())),
            // HTTP's deflate is zlib's format.
            Coding::Deflate => Self::Deflate(ZlibEncoder::new(Vec::new(), Level::fast())),
        }
    }

    pub(super) fn write(&mut self, slice: &[u8]) {
        let written = match self {
            Self::Gzip(encoder) => encoder.write_all(slice),
            Self::Deflate(encoder) => encoder.write_all(slice),
        };
        written.expect("a Vec takes everything");
    }

    pub(super) fn finish(self) -> Bytes {
        let finished: io::Result<Vec<u8>> = match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Deflate(encoder) => encoder.finish(),
        };
        finished.expect("a Vec takes everything").into()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::{GzDecoder, ZlibDecoder};
    use http::HeaderValue;

    use super::*;

    /// Each as the reference answered it (4.8.4).
    #[test]
    fn the_coding_is_what_the_client_wants_most() {
        for (accept, coding) in [
            ("gzip", Some(Coding::Gzip)),
            ("gzip, deflate, br", Some(Coding::Gzip)),
            ("deflate, gzip", Some(Coding::Deflate)),
            ("deflate", Some(Coding::Deflate)),
            ("GZIP", Some(Coding::Gzip)),
            ("*", Some(Coding::Gzip)),
            ("*, deflate", Some(Coding::Deflate)),
            ("gzip;q=0.2, deflate;q=0.5", Some(Coding::Deflate)),
            ("gzip;q=0, *", Some(Coding::Deflate)),
            ("gzip;q=0", None),
            ("gzip;q=much", None),
            ("identity", None),
            ("br", None),
            ("x-gzip", None),
            ("", None),
            (",;", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accept));
            assert_eq!(Coding::accepted(&headers), coding, "{accept}");
        }
        assert_eq!(Coding::accepted(&HeaderMap::new()), None);
    }

    #[test]
    fn small_bodies_stay_as_they_are() {
        let gzip = Some(Coding::Gzip);
        assert_eq!(Compression::From(1024).coding(gzip, 1023), None);
        assert_eq!(Compression::From(1024).coding(gzip, 1024), gzip);
        assert_eq!(Compression::From(1024).coding(None, 1024), None);
        assert_eq!(Compression::Off.coding(gzip, 1 << 20), None);
    }

    #[tokio::test]
    async fn a_large_body_gives_way_and_comes_back_whole() {
        let body: Bytes = (0..200_000).map(|n: u32| (n % 251) as u8).collect();
        for coding in [Coding::Gzip, Coding::Deflate] {
            let mut compressing = Box::pin(compress(coding, &body));
            let mut pauses = 0;
            let compressed = std::future::poll_fn(|cx| match compressing.as_mut().poll(cx) {
                std::task::Poll::Pending => {
                    pauses += 1;
                    std::task::Poll::Pending
                }
                ready => ready,
            });
            let compressed = compressed.await;
            assert_eq!(pauses, body.len() / limits::COMPRESSION_SLICE_BYTES);
            let mut whole = Vec::new();
            match coding {
                Coding::Gzip => GzDecoder::new(&compressed[..]).read_to_end(&mut whole),
                Coding::Deflate => ZlibDecoder::new(&compressed[..]).read_to_end(&mut whole),
            }
            .unwrap();
            assert!(whole == body && compressed.len() < body.len() / 10);
        }
    }
}
