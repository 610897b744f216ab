//! Webhooks: which namespaces an application serves over HTTP, as typed values.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use roomcast_proto::engineio::base64;

use super::backends::NamespacePattern;
use super::parse;
use super::reader::{Reader, Wrong};

/// What a secret begins with ("Standard Webhooks", signature scheme).
const SECRET_PREFIX: &str = "whsec_";
/// Bytes of a secret.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Secrets at once: the one in use, and others while they are changed.
const SECRETS_MAX: usize = 4;
const FORM: &str = "NAMESPACE=URL,…, for example \
    /orders=https://app.example/hooks,/shop-*=http://10.0.0.7/hooks";
const SECRET_FORM: &str = "whsec_ and the base64 of 24 to 64 random bytes on a line: \
    echo whsec_$(openssl rand -base64 32)";

/// Which namespaces are served by webhooks, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhooksConfig {
    /// Which application serves what.
    pub hooks: Vec<Webhook>,
    /// What requests are signed with, each of them.
    pub secrets: Vec<WebhookSecret>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How long all attempts may take while a client waits.
    pub deadline: Duration,
}

/// One application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// The namespaces it serves.
    pub namespaces: NamespacePattern,
    /// Where it is, `http` or `https`.
    pub url: Uri,
}

/// A key of signatures; it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(pub Bytes);

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret")
    }
}

impl WebhooksConfig {
    /// The applications in the order in which they are tried: a name wins over patterns, of
    /// patterns the longest.
    #[must_use]
    pub fn closest_first(&self) -> Vec<Webhook> {
        let mut hooks = self.hooks.clone();
        hooks.sort_by_key(|hook| hook.namespaces.closeness());
        hooks.reverse();
        hooks
    }

    /// `None` after noting what was refused.
    pub(crate) fn read(reader: &mut Reader, signed: bool) -> Option<Self> {
        let hooks = reader.optional("webhooks", hooks).unwrap_or_default();
        let secrets = reader.optional("webhook-secret-file", secrets);
        let minute = Duration::from_secs(60);
        let timeout = reader.duration("webhook-timeout", Duration::from_millis(100)..=minute);
        let deadline = reader.duration("webhook-deadline", Duration::from_millis(100)..=minute);
        let (timeout, deadline) = (timeout?, deadline?);
        if timeout > deadline {
            let wrong = format!(
                "{} is longer than all attempts",
                parse::show_duration(timeout)
            );
            let right = format!(
                "at most webhook-deadline, {}",
                parse::show_duration(deadline)
            );
            reader.refuse("webhook-timeout", (wrong, right));
        }
        if signed && !hooks.is_empty() && secrets.is_none() {
            let wrong = "needs webhook-secret-file: unsigned requests prove nothing".to_owned();
            reader.refuse("webhooks", (wrong, format!("a file with {SECRET_FORM}")));
        }
        Some(Self {
            hooks,
            secrets: secrets.unwrap_or_default(),
            timeout,
            deadline,
        })
    }
}

fn hooks(text: &str) -> Result<Vec<Webhook>, Wrong> {
    let mut hooks: Vec<Webhook> = Vec::new();
    for item in text.split(',').map(str::trim) {
        let hook = hook(item).map_err(|wrong| (wrong, FORM.to_owned()))?;
        if hooks
            .iter()
            .any(|known| known.namespaces == hook.namespaces)
        {
            let wrong = format!("names {} twice", hook.namespaces.as_str());
            return Err((wrong, FORM.to_owned()));
        }
        hooks.push(hook);
    }
    Ok(hooks)
}

fn hook(item: &str) -> Result<Webhook, String> {
    let (namespaces, url) = item
        .split_once('=')
        .ok_or_else(|| format!("has `{item}` without a URL"))?;
    let namespaces = NamespacePattern::parse(namespaces)
        .map_err(|wrong| format!("has `{namespaces}`, which {wrong}"))?;
    let wrong = || format!("has `{url}`, which is no URL of HTTP");
    let url: Uri = url.parse().map_err(|_| wrong())?;
    let known = matches!(url.scheme_str(), Some("http" | "https"));
    if !known || url.host().is_none_or(str::is_empty) {
        return Err(wrong());
    }
    Ok(Webhook { namespaces, url })
}

fn secrets(path: &str) -> Result<Vec<WebhookSecret>, Wrong> {
    let right = || SECRET_FORM.to_owned();
    let text = std::fs::read_to_string(path)
        .map_err(|error| (format!("`{path}` cannot be read: {error}"), right()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let secrets = lines.zip(1..).map(|(line, number)| {
        // Not the line itself: it may be a secret in a wrong form.
        secret(line).ok_or_else(|| (format!("`{path}`: secret {number} is none"), right()))
    });
    let secrets = secrets.collect::<Result<Vec<_>, Wrong>>()?;
    match secrets.len() {
        0 => Err((format!("`{path}` is empty"), right())),
        count if count > SECRETS_MAX => Err((
            format!("`{path}` has {count} secrets"),
            format!("at most {SECRETS_MAX}"),
        )),
        _ => Ok(secrets),
    }
}

fn secret(line: &str) -> Option<WebhookSecret> {
    let bytes = base64::decode(line.strip_prefix(SECRET_PREFIX)?.as_bytes()).ok()?;
    SECRET_BYTES
        .contains(&bytes.len())
        .then_some(WebhookSecret(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_win_over_patterns_and_longer_patterns_over_shorter_ones() {
        let config = WebhooksConfig {
            hooks: hooks("/*=http://a,/shop-*=https://b/x,/shop-1=http://c:8080/").unwrap(),
            secrets: Vec::new(),
            timeout: Duration::ZERO,
            deadline: Duration::ZERO,
        };
        let tried = config.closest_first();
        let served = |name: &str| {
            let found = tried
                .iter()
                .find(|hook| hook.namespaces.fit(name).is_some());
            found.unwrap().url.to_string()
        };
        assert_eq!(served("/shop-1"), "http://c:8080/");
        assert_eq!(served("/shop-2"), "https://b/x");
        assert_eq!(served("/"), "http://a/");
    }

    #[test]
    fn what_is_no_webhook_is_said() {
        for (text, wrong) in [
            ("/orders", "has `/orders` without a URL"),
            (
                "orders=http://a",
                "has `orders`, which begins with no slash",
            ),
            ("/a=ftp://a", "has `ftp://a`, which is no URL of HTTP"),
            ("/a=/hooks", "has `/hooks`, which is no URL of HTTP"),
            ("/a=http://a,/a=http://b", "names /a twice"),
        ] {
            assert_eq!(
                hooks(text).unwrap_err(),
                (wrong.to_owned(), FORM.to_owned())
            );
        }
    }

    #[test]
    fn secrets_are_read_in_one_form_and_never_shown() {
        let good = format!("whsec_{}", base64::encode(&[7; 32]));
        assert_eq!(secret(&good), Some(WebhookSecret(Bytes::from(vec![7; 32]))));
        for bad in ["", "whsec_", "whsec_AAAA", &good[6..], &good[..20]] {
            assert_eq!(secret(bad), None, "{bad}");
        }
        assert_eq!(format!("{:?}", secret(&good).unwrap()), "WebhookSecret");
    }
}
