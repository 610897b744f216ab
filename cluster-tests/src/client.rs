//! What the suite sees of any client: signals in the order they happened, a state to wait for, and
//! calls with an answer. [`crate::stock`], [`crate::sdk`]
//! and [`crate::raw`] are the clients.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::offset::Offset;
use crate::raw::RawClient;
use crate::sdk::SdkSocket;
use crate::stock::StockSocket;

/// An event from the server.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// Its arguments without the offset; binary ones as `{"$binary": hex}`.
    pub args: Vec<Value>,
    /// The trailing offset.
    pub offset: Option<String>,
}

/// What a client reports, in the order it happened.
#[derive(Debug, Clone)]
pub enum Signal {
    /// CONNECT was answered.
    Connected {
        /// Socket id.
        id: String,
        /// Whether the session is the one it had.
        recovered: bool,
        /// The `resume` member of the answer, if the client shows it.
        resume: Value,
    },
    /// The transport or the namespace is gone.
    Disconnected {
        /// As the client words it.
        reason: String,
        /// Whether the client comes back by itself.
        returns: bool,
    },
    /// An attempt to connect failed.
    ConnectError {
        /// As the client words it.
        message: String,
        /// Whether the client tries again by itself.
        returns: bool,
    },
    /// An event.
    Event(Event),
}

/// Is called by the client's own task with each signal, in order; must not block.
pub type Tap = Arc<dyn Fn(&Signal) + Send + Sync>;

/// What became of a client so far.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Whether the namespace is connected now.
    pub connected: bool,
    /// Socket id of the latest session.
    pub id: String,
    /// Answered CONNECTs.
    pub connects: u64,
    /// Of these, resumed sessions.
    pub recovered: u64,
    /// Of these, sessions that are not resumed ones, the first included.
    pub fresh: u64,
    /// Reasons of disconnects, oldest first.
    pub disconnects: Vec<String>,
    /// Messages of failed attempts, oldest first.
    pub connect_errors: Vec<String>,
    /// What made the client give up: `44` or `41`.
    pub gave_up: Option<String>,
    /// The `resume` member of the latest CONNECT.
    pub resume: Value,
}

/// Keeps a [`State`] and passes signals on.
pub struct Monitor {
    state: watch::Sender<State>,
    tap: Tap,
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor")
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}

impl Monitor {
    /// A monitor of a client that has not connected yet.
    #[must_use]
    pub fn new(tap: Tap) -> Arc<Self> {
        Arc::new(Self {
            state: watch::Sender::new(State::default()),
            tap,
        })
    }

    /// Takes the next signal: the tap sees it before anybody who waits for the state.
    pub fn signal(&self, signal: &Signal) {
        (self.tap)(signal);
        if matches!(signal, Signal::Event(_)) {
            return;
        }
        self.state.send_modify(|state| apply(state, signal));
    }

    /// The state, to look at or to wait for.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }
}

fn apply(state: &mut State, signal: &Signal) {
    match signal {
        Signal::Connected {
            id,
            recovered,
            resume,
        } => {
            state.connected = true;
            state.id.clone_from(id);
            state.connects += 1;
            state.recovered += u64::from(*recovered);
            state.fresh += u64::from(!*recovered);
            state.resume.clone_from(resume);
        }
        Signal::Disconnected { reason, returns } => {
            state.connected = false;
            state.disconnects.push(reason.clone());
            if !returns {
                state.gave_up = Some(reason.clone());
            }
        }
        Signal::ConnectError { message, returns } => {
            state.connect_errors.push(message.clone());
            if !returns {
                state.gave_up = Some(message.clone());
            }
        }
        Signal::Event(_) => {}
    }
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It was not sent.
    #[error("not connected")]
    NotConnected,
    /// The connection ended before the answer.
    #[error("the connection was lost")]
    Lost,
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
}

/// A client of any make.
#[derive(Debug, Clone)]
pub enum Client {
    /// The official JavaScript client.
    Stock(StockSocket),
    /// Our Rust client.
    Sdk(SdkSocket),
    /// The suite's own client on the raw wire.
    Raw(RawClient),
}

impl Client {
    /// Emits an event and waits for the first argument of its acknowledgement.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn call(
        &self,
        event: &str,
        args: Vec<Value>,
        wait: Duration,
    ) -> Result<Value, CallError> {
        match self {
            Self::Stock(client) => client.call(event, args, wait).await,
            Self::Sdk(client) => client.call(event, args, wait).await,
            Self::Raw(client) => client.call(event, args, wait).await,
        }
    }

    /// Emits an event without asking for an acknowledgement.
    pub async fn emit(&self, event: &str, args: Vec<Value>) {
        match self {
            Self::Stock(client) => client.emit(event, args).await,
            Self::Sdk(client) => client.emit(event, args).await,
            Self::Raw(client) => client.emit(event, args).await,
        }
    }

    /// Closes the transport in the client; it comes back by itself.
    pub async fn cut(&self) {
        match self {
            Self::Stock(client) => client.cut().await,
            Self::Sdk(client) => client.cut().await,
            Self::Raw(client) => client.cut().await,
        }
    }

    /// Disconnects for good.
    pub async fn close(&self) {
        match self {
            Self::Stock(client) => client.close().await,
            Self::Sdk(client) => client.close().await,
            Self::Raw(client) => client.close().await,
        }
    }

    /// The state, to look at or to wait for.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<State> {
        match self {
            Self::Stock(client) => client.monitor().watch(),
            Self::Sdk(client) => client.monitor().watch(),
            Self::Raw(client) => client.monitor().watch(),
        }
    }

    /// A copy of the state.
    #[must_use]
    pub fn state(&self) -> State {
        self.watch().borrow().clone()
    }

    /// Waits for a state.
    ///
    /// # Panics
    /// When it does not come in time; `what` is in the message.
    pub async fn wait_for(
        &self,
        what: &str,
        within: Duration,
        mut test: impl FnMut(&State) -> bool,
    ) -> State {
        let mut watch = self.watch();
        let waited = timeout(within, watch.wait_for(|state| test(state))).await;
        if let Ok(Ok(state)) = waited {
            return state.clone();
        }
        panic!("not {what} within {within:?}: {:?}", self.state());
    }

    /// Calls an event of the `pubsub` handler.
    ///
    /// # Errors
    /// When there is no answer, or a refusal.
    pub async fn ask(
        &self,
        event: &str,
        args: Vec<Value>,
        wait: Duration,
    ) -> Result<Reply, AskError> {
        Reply::read(self.call(event, args, wait).await?)
    }

    /// Joins a room and gives the offset of the join.
    ///
    /// # Errors
    /// When there is no answer, or a refusal.
    pub async fn join(&self, room: &str, wait: Duration) -> Result<Offset, AskError> {
        self.ask("join", vec![json!(room)], wait).await?.offset()
    }
}

/// Why the `pubsub` handler gave no good answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// No answer at all.
    #[error("no answer")]
    Call(#[from] CallError),
    /// `{"ok":false,...}` with this code.
    #[error("refused: {0}")]
    Refused(String),
    /// An answer that the contract does not know.
    #[error("not an answer: {0}")]
    Malformed(String),
}

impl AskError {
    /// The code of a refusal.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(code) => Some(code),
            Self::Call(_) | Self::Malformed(_) => None,
        }
    }
}

/// A good answer of the `pubsub` handler.
#[derive(Debug, Clone)]
pub struct Reply(pub Value);

impl Reply {
    fn read(answer: Value) -> Result<Self, AskError> {
        let code = || answer.pointer("/error/code").and_then(Value::as_str);
        match answer.get("ok").and_then(Value::as_bool) {
            Some(true) => Ok(Self(answer)),
            Some(false) => Err(code().map_or_else(
                || AskError::Malformed(answer.to_string()),
                |code| AskError::Refused(code.to_owned()),
            )),
            None => Err(AskError::Malformed(answer.to_string())),
        }
    }

    /// The offset in it.
    ///
    /// # Errors
    /// When there is none.
    pub fn offset(&self) -> Result<Offset, AskError> {
        let text = self
            .0
            .get("offset")
            .and_then(Value::as_str)
            .unwrap_or_default();
        Offset::parse(text).ok_or_else(|| AskError::Malformed(self.0.to_string()))
    }
}
