//! Where the nodes are: one parsed address, and the list that says which one is tried next.
//!
//! Pure. No node needs stickiness, so any order is right; the list only spreads the load.

use std::fmt;
use std::str::FromStr;

use crate::error::ClientError;

/// The path at which a server answers unless the endpoint names another.
const DEFAULT_PATH: &str = "/socket.io/";

/// The address of one node or of a load balancer, `ws://host:port[/path/]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `host:port`, IPv6 hosts in brackets.
    authority: String,
    /// The path of the server's Engine.IO handler, with its trailing slash.
    path: String,
}

impl Endpoint {
    /// `host:port`, fit for a TCP connect.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The handshake's URL: WebSocket, Engine.IO v4, then `query`.
    pub(crate) fn handshake_url(&self, query: &[(String, String)]) -> String {
        let mut url = format!("{self}?EIO=4&transport=websocket");
        for (key, value) in query {
            url.push('&');
            percent_encode(key, &mut url);
            url.push('=');
            percent_encode(value, &mut url);
        }
        url
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ws://{}{}", self.authority, self.path)
    }
}

impl FromStr for Endpoint {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        let refuse = |reason: &'static str| ClientError::Endpoint {
            endpoint: text.to_owned(),
            reason,
        };
        let uri: http::Uri = text.parse().map_err(|_| refuse("is not a URL"))?;
        match uri.scheme_str() {
            Some("ws" | "http") => {}
            Some("wss" | "https") => return Err(refuse("uses TLS, which is not supported yet")),
            _ => return Err(refuse("does not begin with ws:// or http://")),
        }
        if uri.query().is_some() {
            return Err(refuse(
                "has a query; put it into the options, it is the same for all",
            ));
        }
        let host = uri.host().ok_or_else(|| refuse("names no host"))?;
        let port = uri.port_u16().unwrap_or(80);
        let path = match uri.path() {
            "" | "/" => DEFAULT_PATH.to_owned(),
            path if path.ends_with('/') => path.to_owned(),
            path => format!("{path}/"),
        };
        Ok(Self {
            authority: format!("{host}:{port}"),
            path,
        })
    }
}

/// In which order a client goes through its endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EndpointOrder {
    /// One after the other, from the first.
    #[default]
    RoundRobin,
    /// A random one each time, never the one just left when there are others.
    Random,
}

/// The endpoints of one client and the place in their order.
#[derive(Debug)]
pub(crate) struct EndpointList {
    /// Never empty: checked at construction.
    endpoints: Vec<Endpoint>,
    /// How the next one is chosen.
    order: EndpointOrder,
    /// The index tried last.
    last: Option<usize>,
    /// Goes before everything else, once.
    forced: Option<Endpoint>,
}

impl EndpointList {
    /// Refuses an empty list.
    pub(crate) fn new(endpoints: Vec<Endpoint>, order: EndpointOrder) -> Result<Self, ClientError> {
        if endpoints.is_empty() {
            return Err(ClientError::NoEndpoint);
        }
        Ok(Self {
            endpoints,
            order,
            last: None,
            forced: None,
        })
    }

    /// How many addresses there are to choose from.
    pub(crate) fn count(&self) -> usize {
        self.endpoints.len()
    }

    /// Makes `endpoint` the next one, once; it need not be in the list.
    pub(crate) fn force(&mut self, endpoint: Endpoint) {
        self.forced = Some(endpoint);
    }

    /// The endpoint of the next attempt. `random` is uniform in `[0, 1)`.
    pub(crate) fn next_endpoint(&mut self, random: f64) -> Endpoint {
        if let Some(endpoint) = self.forced.take() {
            self.last = self.endpoints.iter().position(|known| *known == endpoint);
            return endpoint;
        }
        let count = self.endpoints.len();
        let index = match (self.order, self.last) {
            (EndpointOrder::RoundRobin, None) => 0,
            (EndpointOrder::RoundRobin, Some(last)) => (last + 1) % count,
            (EndpointOrder::Random, Some(last)) if count > 1 => {
                (last + 1 + scaled(random, count - 1)) % count
            }
            (EndpointOrder::Random, _) => scaled(random, count),
        };
        self.last = Some(index);
        self.endpoints[index].clone()
    }
}

/// `random` in `[0, 1)` as an index below `count`.
fn scaled(random: f64, count: usize) -> usize {
    ((random * count as f64) as usize).min(count - 1)
}

/// Appends `text` with everything but RFC 3986's unreserved characters escaped.
fn percent_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(order: EndpointOrder, count: u16) -> EndpointList {
        let endpoints = (0..count)
            .map(|i| format!("ws://n{i}:{}", 9000 + i).parse().unwrap())
            .collect();
        EndpointList::new(endpoints, order).unwrap()
    }

    #[test]
    fn endpoints_parse_with_default_port_and_path() {
        for (text, url) in [
            ("ws://a:1", "ws://a:1/socket.io/"),
            ("http://a", "ws://a:80/socket.io/"),
            ("ws://[::1]:9/rt", "ws://[::1]:9/rt/"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), url);
        }
    }

    #[test]
    fn unusable_endpoints_are_refused_with_the_reason() {
        for (text, reason) in [
            ("wss://a", "TLS"),
            ("a:1", "does not begin"),
            ("ws://a/?x=1", "query"),
            ("ws://a b", "not a URL"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn query_is_escaped() {
        let endpoint: Endpoint = "ws://a:1".parse().unwrap();
        let query = [("re covery".to_owned(), "0&1".to_owned())];
        assert_eq!(
            endpoint.handshake_url(&query),
            "ws://a:1/socket.io/?EIO=4&transport=websocket&re%20covery=0%261"
        );
    }

    #[test]
    fn round_robin_visits_all_and_continues_after_a_forced_one() {
        let mut list = list(EndpointOrder::RoundRobin, 3);
        let mut port = || list.next_endpoint(0.9).authority().to_owned();
        assert_eq!(
            [port(), port(), port(), port()],
            ["n0:9000", "n1:9001", "n2:9002", "n0:9000"]
        );
        list.force("ws://n1:9001".parse().unwrap());
        let mut port = || list.next_endpoint(0.9).authority().to_owned();
        assert_eq!([port(), port()], ["n1:9001", "n2:9002"]);
    }

    #[test]
    fn random_never_repeats_the_last_one_when_there_are_others() {
        let mut list = list(EndpointOrder::Random, 3);
        let mut last = list.next_endpoint(0.4);
        for step in 0..200 {
            let next = list.next_endpoint(f64::from(step % 10) / 10.0);
            assert_ne!(next, last);
            last = next;
        }
    }
}
