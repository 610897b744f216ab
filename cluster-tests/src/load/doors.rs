//! Publishers that are no sockets: over gRPC and over HTTP, at a node's API port.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use roomcast_proto::api::api_client::ApiClient;
use roomcast_proto::api::{Event, PublishBatchRequest, PublishRequest, Target};
use serde_json::json;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

use super::publishers::{PAYLOAD_BYTES, Publishing};

/// A room that nobody is in.
const ROOM: &str = "nobody";

/// Calls `Publish`, or `PublishBatch` with several events each.
#[derive(Debug, Clone)]
pub struct GrpcPublisher {
    client: ApiClient<Channel>,
    batch: usize,
}

impl GrpcPublisher {
    /// Over a connection of its own, which clones of it share.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(addr: SocketAddr, batch: usize) -> io::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{addr}")).map_err(io::Error::other)?;
        let channel = endpoint.connect().await.map_err(io::Error::other)?;
        let client = ApiClient::new(channel);
        Ok(Self { client, batch })
    }
}

impl Publishing for GrpcPublisher {
    async fn publish(&mut self) -> io::Result<()> {
        if self.batch == 1 {
            let published = self.client.publish(request()).await;
            return published.map(drop).map_err(io::Error::other);
        }
        let publishes = (0..self.batch).map(|_| request()).collect();
        let batch = PublishBatchRequest { publishes };
        let answer = self.client.publish_batch(batch).await;
        let outcomes = answer.map_err(io::Error::other)?.into_inner().outcomes;
        use roomcast_proto::api::publish_batch_response::outcome::Outcome;
        let published = |outcome: Option<&Outcome>| matches!(outcome, Some(Outcome::Published(_)));
        match outcomes.iter().all(|of| published(of.outcome.as_ref())) {
            true => Ok(()),
            false => Err(io::Error::other(format!("{outcomes:?}"))),
        }
    }
}

fn request() -> PublishRequest {
    PublishRequest {
        target: Some(Target {
            rooms: vec![ROOM.to_owned()],
            except: Vec::new(),
        }),
        event: Some(Event {
            name: "m".to_owned(),
            args: json!(["x".repeat(PAYLOAD_BYTES)]).to_string(),
            attachments: Vec::new(),
        }),
        ..PublishRequest::default()
    }
}

/// Posts to `/v1/publish`, on a connection that it keeps.
#[derive(Debug)]
pub struct HttpPublisher {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    body: Bytes,
}

impl HttpPublisher {
    /// Over a connection of its own.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let shaken = handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(io::Error::other)?;
        tokio::spawn(connection);
        let args = ["x".repeat(PAYLOAD_BYTES)];
        let body = json!({ "rooms": [ROOM], "event": "m", "args": args });
        Ok(Self {
            sender,
            host: addr.to_string(),
            body: body.to_string().into(),
        })
    }
}

impl Publishing for HttpPublisher {
    async fn publish(&mut self) -> io::Result<()> {
        let request = Request::post("/v1/publish")
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(self.body.clone()))
            .map_err(io::Error::other)?;
        let response = self.sender.send_request(request).await;
        let response = response.map_err(io::Error::other)?;
        let status = response.status();
        let body = response.into_body().collect().await;
        let body = body.map_err(io::Error::other)?.to_bytes();
        match status.is_success() {
            true => Ok(()),
            false => Err(io::Error::other(format!("{status} {body:?}"))),
        }
    }
}
