//! A backend that does what the test says, step by step.

use std::net::SocketAddr;

use roomcast_proto::api::admission::{Accept, Decision, Reject};
use roomcast_proto::api::backend_client::BackendClient;
use roomcast_proto::api::operation::{Emit, Join, What};
use roomcast_proto::api::{
    Admission, Connected, Done, Event, FromBackend, Goodbye, Hello, Operation, Registration,
    SocketEvent, Target, ToBackend, Welcome, done, from_backend, to_backend,
};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

use crate::node::{LIMIT, SOON};

/// See the module's text. Dropped, it is gone as a process that dies.
pub(crate) struct Program {
    said: mpsc::Sender<FromBackend>,
    heard: Streaming<ToBackend>,
    pub(crate) welcome: Welcome,
}

impl Program {
    /// For namespaces whose connects it decides.
    pub(crate) fn hello(namespaces: &[&str]) -> Hello {
        let registration = |name: &&str| Registration {
            namespace: (*name).to_owned(),
            events: Vec::new(),
            admits: true,
            disconnects: false,
            builtin: false,
            presence: false,
            guarded: false,
        };
        Hello {
            name: "test".to_owned(),
            namespaces: namespaces.iter().map(registration).collect(),
            window: 0,
        }
    }

    pub(crate) async fn dial(api: SocketAddr, hello: Hello) -> Self {
        Self::try_dial(api, hello).await.expect("it is welcome")
    }

    pub(crate) async fn try_dial(api: SocketAddr, hello: Hello) -> Result<Self, Status> {
        Self::try_dial_with(api, hello, None).await
    }

    /// With a token for the API port.
    pub(crate) async fn try_dial_with(
        api: SocketAddr,
        hello: Hello,
        token: Option<&str>,
    ) -> Result<Self, Status> {
        let client = BackendClient::connect(format!("http://{api}")).await;
        let mut client = client.expect("the API port is there");
        let (said, saying) = mpsc::channel(64);
        let mut request = Request::new(ReceiverStream::new(saying));
        if let Some(token) = token {
            let bearer = format!("Bearer {token}").parse().expect("ASCII");
            request.metadata_mut().insert("authorization", bearer);
        }
        let heard = client.serve(request).await?;
        let mut heard = heard.into_inner();
        let hello = from_backend::Message::Hello(hello);
        let hello = FromBackend {
            message: Some(hello),
        };
        said.send(hello).await.expect("the stream is open");
        let first = timeout(LIMIT, heard.message()).await.expect("an answer")?;
        match first.and_then(|first| first.message) {
            Some(to_backend::Message::Welcome(welcome)) => Ok(Self {
                said,
                heard,
                welcome,
            }),
            other => panic!("no welcome: {other:?}"),
        }
    }

    pub(crate) async fn say(&self, message: from_backend::Message) {
        let message = FromBackend {
            message: Some(message),
        };
        self.said.send(message).await.expect("the stream is open");
    }

    pub(crate) async fn goodbye(&self) {
        self.say(from_backend::Message::Goodbye(Goodbye {})).await;
    }

    /// What it is told next; `None` when the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<(u64, to_backend::Message)> {
        let next = timeout(LIMIT, self.heard.message()).await;
        let next = next.expect("nothing comes").ok().flatten()?;
        Some((next.call, next.message.expect("a message")))
    }

    /// Nothing comes for a while.
    pub(crate) async fn is_silent(&mut self) {
        let next = timeout(SOON, self.heard.message()).await;
        assert!(next.is_err(), "{next:?}");
    }

    /// The next call, which asks for admission.
    pub(crate) async fn admit(&mut self) -> (u64, roomcast_proto::api::Admit) {
        match self.next().await {
            Some((call, to_backend::Message::Admit(admit))) => (call, admit),
            other => panic!("no admit: {other:?}"),
        }
    }

    pub(crate) async fn connected(&mut self) -> (u64, Connected) {
        match self.next().await {
            Some((call, to_backend::Message::Connected(connected))) => (call, connected),
            other => panic!("no connected: {other:?}"),
        }
    }

    pub(crate) async fn event(&mut self) -> (u64, SocketEvent) {
        match self.next().await {
            Some((call, to_backend::Message::Event(event))) => (call, event),
            other => panic!("no event: {other:?}"),
        }
    }

    pub(crate) async fn result(&mut self) -> roomcast_proto::api::Result {
        match self.next().await {
            Some((0, to_backend::Message::Result(result))) => result,
            other => panic!("no result: {other:?}"),
        }
    }

    /// Admits the next client and takes its socket; the socket's id.
    pub(crate) async fn welcome(&mut self, identity: &str) -> String {
        let (call, _) = self.admit().await;
        self.accept(call, identity).await;
        let (call, connected) = self.connected().await;
        self.done(call, None).await;
        connected.socket.expect("a socket").id
    }

    pub(crate) async fn accept(&self, call: u64, identity: &str) {
        let accept = Accept {
            identity: Some(identity.to_owned()),
            data: r#"{"hat":"red"}"#.to_owned(),
            recovery: 0,
        };
        let decision = Some(Decision::Accept(accept));
        self.say(from_backend::Message::Admission(Admission {
            call,
            decision,
        }))
        .await;
    }

    pub(crate) async fn reject(&self, call: u64, message: &str, data: &str) {
        let reject = Reject {
            message: message.to_owned(),
            data: data.to_owned(),
        };
        let decision = Some(Decision::Reject(reject));
        self.say(from_backend::Message::Admission(Admission {
            call,
            decision,
        }))
        .await;
    }

    pub(crate) async fn done(&self, call: u64, outcome: Option<done::Outcome>) {
        self.say(from_backend::Message::Done(Done { call, outcome }))
            .await;
    }

    /// Done, with an answer of these arguments.
    pub(crate) async fn answer(&self, call: u64, args: &str) {
        let answer = done::Answer {
            args: args.to_owned(),
            attachments: Vec::new(),
        };
        self.done(call, Some(done::Outcome::Answer(answer))).await;
    }

    pub(crate) async fn operate(&self, call: u64, number: u64, what: What) {
        let operation = Operation {
            call,
            number,
            namespace: String::new(),
            what: Some(what),
        };
        self.say(from_backend::Message::Operation(operation)).await;
    }
}

pub(crate) fn join(room: &str) -> What {
    What::Join(Join {
        rooms: vec![room.to_owned()],
    })
}

/// An event to a room; to the call's socket without one.
pub(crate) fn emit(room: Option<&str>, name: &str, args: &str) -> What {
    let target = |room: &str| Target {
        rooms: vec![room.to_owned()],
        except: Vec::new(),
    };
    What::Emit(Emit {
        target: room.map(target),
        event: Some(event(name, args)),
        class: 0,
        key: None,
    })
}

pub(crate) fn event(name: &str, args: &str) -> Event {
    Event {
        name: name.to_owned(),
        args: args.to_owned(),
        attachments: Vec::new(),
    }
}
