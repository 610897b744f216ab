//! The client bundle: the browser's files of the official client, beside Engine.IO as in the
//! reference (`serveClient`). Read once, from a directory that the operator names; a request only
//! chooses among fixed names and never reaches the disk.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use axum::body::Body;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, ORIGIN, VARY,
};
use http::{HeaderMap, Request, Response, StatusCode};
use xxhash_rust::xxh3::xxh3_128;

use super::client_port::is_read;
use super::compression::{Coding, Encoder};
use super::respond;
use super::settings::HttpSettings;
use crate::config::CLIENT_BUNDLE_FILES;
use crate::limits;

/// A file of the bundle cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("client-bundle-dir: {}: {source}", path.display())]
pub struct BundleError {
    /// Which file.
    path: PathBuf,
    /// What is wrong with it.
    source: io::Error,
}

/// The files, in memory.
#[derive(Clone)]
pub struct ClientBundle(Vec<File>);

#[derive(Clone)]
struct File {
    name: &'static str,
    /// Changes with the content.
    etag: HeaderValue,
    plain: Bytes,
    gzip: Bytes,
}

impl ClientBundle {
    /// Reads all files of [`CLIENT_BUNDLE_FILES`].
    ///
    /// # Errors
    /// The first file that is missing, too large or not readable.
    pub fn load(directory: &Path) -> Result<Self, BundleError> {
        let files = CLIENT_BUNDLE_FILES.iter().map(|name| {
            let path = directory.join(name);
            File::load(name, &path).map_err(|source| BundleError { path, source })
        });
        files.collect::<Result<_, _>>().map(Self)
    }

    /// Answers a GET or a HEAD for a file of that name.
    pub(super) fn answer(&self, name: &str, request: &HeaderMap) -> Option<Response<Body>> {
        let file = self.0.iter().find(|file| file.name == name)?;
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(ETAG, file.etag.clone());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=0"));
        headers.insert(VARY, HeaderValue::from_name(http::header::ACCEPT_ENCODING));
        if is_known(request, &file.etag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Some(response);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind(name)));
        let gzip = Coding::accepted(request) == Some(Coding::Gzip);
        if gzip {
            headers.insert(
                CONTENT_ENCODING,
                HeaderValue::from_static(Coding::Gzip.name()),
            );
        }
        let bytes = if gzip { &file.gzip } else { &file.plain };
        *response.body_mut() = Body::from(bytes.clone());
        Some(response)
    }
}

/// Answers a request for one of the bundle's files; `None` for any other. Without a bundle they are
/// not found.
pub(super) fn answer<B>(
    http: &HttpSettings,
    rest: &str,
    request: &Request<B>,
) -> Option<Response<Body>> {
    // With an optional slash, the slash before the name belongs to no path.
    let name = match http.path.ends_with('/') {
        true => rest,
        false => rest.strip_prefix('/')?,
    };
    if !CLIENT_BUNDLE_FILES.contains(&name) {
        return None;
    }
    if let Some(response) = http.preflight(request) {
        return Some(response);
    }
    if !is_read(request) {
        return None;
    }
    let headers = request.headers();
    let file = http
        .bundle
        .as_ref()
        .and_then(|bundle| bundle.answer(name, headers));
    let mut response = file.unwrap_or_else(respond::not_found);
    let origin = headers.get(ORIGIN).cloned();
    http.cors.allow(origin, response.headers_mut());
    Some(response)
}

/// Whether the client has this version of a file (RFC 9110, section 13.1.2).
fn is_known(request: &HeaderMap, etag: &HeaderValue) -> bool {
    let values = request.get_all(IF_NONE_MATCH).iter();
    let mut tags = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag)
}

fn kind(name: &str) -> &'static str {
    match name.ends_with(".map") {
        true => "application/json; charset=utf-8",
        false => "application/javascript; charset=utf-8",
    }
}

impl File {
    fn load(name: &'static str, path: &Path) -> io::Result<Self> {
        let bytes_max = limits::CLIENT_BUNDLE_FILE_BYTES_MAX;
        let mut plain = Vec::new();
        std::fs::File::open(path)?
            .take(bytes_max + 1)
            .read_to_end(&mut plain)?;
        if plain.len() as u64 > bytes_max {
            let words = format!("larger than {bytes_max} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, words));
        }
        let etag = format!("\"{:032x}\"", xxh3_128(&plain));
        let mut encoder = Encoder::new(Coding::Gzip);
        encoder.write(&plain);
        Ok(Self {
            name,
            etag: HeaderValue::try_from(etag).expect("quotes and digits"),
            plain: plain.into(),
            gzip: encoder.finish(),
        })
    }
}

impl fmt::Debug for ClientBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.0.iter().map(|file| (file.name, file.plain.len()));
        f.debug_map().entries(files).finish()
    }
}
