//! Signatures as in "Standard Webhooks", version 1 of the specification: an application checks with
//! any of its libraries who a request is from, and that it is new.

use http::{HeaderMap, HeaderName, HeaderValue};
use ring::hmac;
use roomcast_proto::engineio::base64;

use crate::config::WebhookSecret;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Signs with every secret, so that an application may know either while one is replaced.
#[derive(Debug)]
pub(super) struct Signer {
    keys: Vec<hmac::Key>,
}

impl Signer {
    pub(super) fn new(secrets: &[WebhookSecret]) -> Self {
        let key = |secret: &WebhookSecret| hmac::Key::new(hmac::HMAC_SHA256, &secret.0);
        Self {
            keys: secrets.iter().map(key).collect(),
        }
    }

    /// The headers of a request: `id` stays the same over all attempts of one message, and is what
    /// an application that must not do a thing twice remembers; `timestamp` is in Unix seconds.
    pub(super) fn headers(&self, id: &str, timestamp: u64, body: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let value = |text: String| HeaderValue::try_from(text).expect("visible ASCII");
        headers.insert(ID, value(id.to_owned()));
        headers.insert(TIMESTAMP, timestamp.into());
        if !self.keys.is_empty() {
            let signatures: Vec<String> = self
                .keys
                .iter()
                .map(|key| format!("v1,{}", base64::encode(&sign(key, id, timestamp, body))))
                .collect();
            headers.insert(SIGNATURE, value(signatures.join(" ")));
        }
        headers
    }
}

fn sign(key: &hmac::Key, id: &str, timestamp: u64, body: &[u8]) -> Vec<u8> {
    let mut signed = hmac::Context::with_key(key);
    signed.update(format!("{id}.{timestamp}.").as_bytes());
    signed.update(body);
    signed.sign().as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own libraries.
    #[test]
    fn the_specifications_example_is_signed_alike() {
        let secret = base64::decode(b"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signer = Signer::new(&[WebhookSecret(secret)]);
        let body = br#"{"test": 2432232314}"#;
        let headers = signer.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(headers[SIGNATURE], expected);
        assert_eq!(headers[TIMESTAMP], "1614265330");
    }

    #[test]
    fn while_a_secret_is_replaced_both_sign() {
        let secrets = [[1; 24], [2; 24]].map(|bytes| WebhookSecret(bytes.to_vec().into()));
        let both = Signer::new(&secrets).headers("m", 1, b"{}");
        let one = |secret: &WebhookSecret| {
            let headers = Signer::new(std::slice::from_ref(secret)).headers("m", 1, b"{}");
            headers[SIGNATURE].to_str().unwrap().to_owned()
        };
        let expected = format!("{} {}", one(&secrets[0]), one(&secrets[1]));
        assert_eq!(both[SIGNATURE], expected);
        assert!(
            !Signer::new(&[])
                .headers("m", 1, b"")
                .contains_key(SIGNATURE)
        );
    }
}
