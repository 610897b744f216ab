//! How this node's client port speaks HTTP, as typed values.

use std::path::PathBuf;
use std::time::Duration;

use super::parse;
use super::reader::{Reader, Wrong};

/// The browser's files of the official client, in the directory `dist` of its npm package; the
/// reference serves the same.
pub const CLIENT_BUNDLE_FILES: [&str; 8] = [
    "socket.io.js",
    "socket.io.js.map",
    "socket.io.min.js",
    "socket.io.min.js.map",
    "socket.io.esm.min.js",
    "socket.io.esm.min.js.map",
    "socket.io.msgpack.min.js",
    "socket.io.msgpack.min.js.map",
];

/// Largest threshold of compression; no payload is as large.
const COMPRESSION_BYTES_MIN_MAX: u64 = 1 << 30;
const DAY: Duration = Duration::from_secs(86_400);

/// What of HTTP an operator decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// What the path of an Engine.IO request begins with; ends with a slash unless `path-slash` is
    /// optional.
    pub path: String,
    /// Pages that may talk to it; `None`: what the mode says.
    pub cors_origins: Option<CorsOrigins>,
    /// How long a browser may keep the answer to a preflight request; `None`: not said.
    pub cors_max_age: Option<Duration>,
    /// Name of a cookie with the session's id on the answer to a polling handshake.
    pub cookie: Option<String>,
    /// Bytes from which answers to polling GETs are compressed; `None`: never.
    pub compression_bytes_min: Option<usize>,
    /// Where the official client's files are; `None`: they are not served.
    pub client_bundle_dir: Option<PathBuf>,
}

/// Pages of other origins that may talk to the client port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorsOrigins {
    /// None.
    Off,
    /// All, without credentials.
    Any,
    /// These, with credentials; each as browsers write it.
    Listed(Vec<String>),
}

impl HttpConfig {
    /// `None` after noting what was refused.
    pub(crate) fn read(reader: &mut Reader) -> Option<Self> {
        let path = reader.optional("path", path);
        let slash = reader.optional("path-slash", slash);
        let cors_origins = reader.optional("cors-origins", origins);
        let cors_max_age = reader.duration("cors-max-age", Duration::ZERO..=DAY);
        let cookie = reader.optional("cookie", cookie);
        let compression = reader.optional("http-compression", compression);
        let client_bundle_dir = reader.optional("client-bundle-dir", bundle_directory);
        Some(Self {
            path: path? + slash?,
            cors_origins,
            cors_max_age,
            cookie,
            compression_bytes_min: compression?,
            client_bundle_dir,
        })
    }
}

/// Without its last slash, as in the reference.
fn path(text: &str) -> Result<String, Wrong> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:@".contains(&b);
    if text.starts_with('/') && text.bytes().all(fits) {
        return Ok(text.strip_suffix('/').unwrap_or(text).to_owned());
    }
    let right = "a path that begins with a slash, for example /socket.io/";
    Err((format!("`{text}` is no path"), right.to_owned()))
}

/// What is added to the path.
fn slash(text: &str) -> Result<&'static str, Wrong> {
    match text {
        "required" => Ok("/"),
        "optional" => Ok(""),
        _ => Err((
            format!("`{text}` is no rule"),
            "required or optional".to_owned(),
        )),
    }
}

fn origins(text: &str) -> Result<CorsOrigins, Wrong> {
    match text {
        "off" => return Ok(CorsOrigins::Off),
        "*" => return Ok(CorsOrigins::Any),
        _ => {}
    }
    let listed = text.split(',').map(str::trim);
    if let Some(wrong) = listed.clone().find(|text| !is_origin(text)) {
        let right = "off, *, or origins as browsers send them, for example https://a.example:8443";
        return Err((format!("`{wrong}` is no origin"), right.to_owned()));
    }
    Ok(CorsOrigins::Listed(listed.map(str::to_owned).collect()))
}

/// Scheme, host and perhaps a port, in lower case: browsers write them so, and they are compared as
/// text.
fn is_origin(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._:[]".contains(&b);
    let scheme = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    text.split_once("://").is_some_and(|(name, host)| {
        let whole = !name.is_empty() && !host.is_empty();
        whole && name.bytes().all(scheme) && host.bytes().all(fits)
    })
}

fn cookie(text: &str) -> Result<String, Wrong> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if !text.is_empty() && text.bytes().all(token) {
        return Ok(text.to_owned());
    }
    let right = "a name of letters, digits and -_., for example io".to_owned();
    Err((format!("`{text}` is no name of a cookie"), right))
}

fn compression(text: &str) -> Result<Option<usize>, Wrong> {
    if text == "off" {
        return Ok(None);
    }
    match parse::bytes(text).filter(|bytes| *bytes <= COMPRESSION_BYTES_MIN_MAX) {
        Some(bytes) => Ok(Some(usize::try_from(bytes).expect("at most 1 GiB"))),
        None => {
            let right = format!("off, or a size: {}", parse::BYTES_FORM);
            Err((format!("`{text}` is no size"), right))
        }
    }
}

fn bundle_directory(text: &str) -> Result<PathBuf, Wrong> {
    let path = PathBuf::from(text);
    let right = || "the directory `dist` of the npm package socket.io-client".to_owned();
    if !path.is_dir() {
        return Err((format!("`{text}` is no directory"), right()));
    }
    let missing = CLIENT_BUNDLE_FILES
        .iter()
        .find(|name| !path.join(name).is_file());
    match missing {
        Some(name) => Err((format!("`{text}` has no {name}"), right())),
        None => Ok(path),
    }
}
