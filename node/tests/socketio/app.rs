//! The application under test: it hands out its sockets, does what events ask, and notes what
//! happened.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use roomcast::socketio::{
    Ack, Admission, ConnectRequest, Event, Handler, Namespaces, Recovery, Rejection, Socket,
};
use serde_json::Value;

/// Handlers of one namespace; all share what they note.
#[derive(Clone, Default)]
pub(crate) struct App {
    recovery: Recovery,
    /// By `auth.name`.
    pub(crate) sockets: Arc<Mutex<BTreeMap<String, Socket>>>,
    /// Each event and each end, with its namespace.
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
}

impl App {
    /// `/`, `/custom`, the rooms `/room-<digits>`, and one namespace for each kind of recovery.
    pub(crate) fn namespaces(&self) -> Namespaces {
        let with = |recovery| Self {
            recovery,
            ..self.clone()
        };
        Namespaces::closed()
            .open("/", self.clone())
            .open("/custom", self.clone())
            .open("/optin", with(Recovery::OptIn))
            .open("/off", with(Recovery::Off))
            .open_matching(is_room, self.clone())
    }

    fn note(&self, socket: &Socket, what: &str) {
        let note = format!("{} {what}", socket.namespace());
        self.seen.lock().push(note);
    }
}

fn is_room(name: &str) -> bool {
    let digits = name.strip_prefix("/room-").unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[async_trait]
impl Handler for App {
    async fn admit(&self, request: &ConnectRequest<'_>) -> Result<Admission, Rejection> {
        let name = request.auth.get("name").and_then(Value::as_str);
        Ok(Admission {
            identity: name.map(str::to_owned),
            recovery: self.recovery,
            ..Admission::default()
        })
    }

    async fn on_connect(&self, socket: &Socket) {
        let name = socket.identity().unwrap_or_default().to_owned();
        self.sockets.lock().insert(name, socket.clone());
    }

    async fn on_event(&self, socket: &Socket, event: Event, ack: Option<Ack>) {
        self.note(socket, &event.name);
        let args = roomcast_proto::socketio::args::join(&event.args);
        match event.name.as_str() {
            "kick" => socket.disconnect(false),
            "kick all" => socket.disconnect(true),
            "back" => {
                let echo = socket.own().emit_raw(args, event.attachments).await;
                echo.expect("it is written");
            }
            _ => {
                if let Some(ack) = ack {
                    ack.send_raw(&args, event.attachments);
                }
            }
        }
    }

    async fn on_disconnect(&self, socket: &Socket, reason: &str) {
        self.note(socket, &format!("gone: {reason}"));
    }
}
