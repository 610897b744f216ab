//! Drives any number of `rust_socketio` clients in one process.
//!
//! Commands come as JSON lines on stdin, reports leave as JSON lines on stdout; the process ends
//! when stdin does. It speaks as `../client.mjs` does; the Rust side of the suite is
//! `src/stock.rs`.
//! Binary arguments travel as `{"$binary": hex}`: this client hands over one attachment at most,
//! and
//! without whatever else the event carries.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use rust_socketio::asynchronous::{Client, ClientBuilder};
use rust_socketio::{Event, Payload, TransportType};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

/// Pause between attempts at the first connection; later ones are the client's own.
const CONNECT_PAUSE: Duration = Duration::from_millis(150);
/// Bounds of the client's own pauses, in milliseconds.
const RECONNECT_MS: (u64, u64) = (150, 600);

/// Clients by their number, once they have their first connection.
type Clients = Arc<Mutex<HashMap<u64, Client>>>;

fn report(line: &Value) {
    println!("{line}");
}

fn binary(bytes: &[u8]) -> Value {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "$binary": hex })
}

/// Arguments and the trailing offset.
fn arguments(payload: Payload) -> (Vec<Value>, Option<String>) {
    match payload {
        Payload::Binary(bytes) => (vec![binary(&bytes)], None),
        Payload::Text(mut args) => {
            let offset = args.last().and_then(Value::as_str).map(ToOwned::to_owned);
            if offset.is_some() {
                args.pop();
            }
            (args, offset)
        }
        other => (vec![json!(format!("{other:?}"))], None),
    }
}

fn transport(options: &Value) -> TransportType {
    match options["transports"].as_array().map_or(0, Vec::len) {
        2 => TransportType::Any,
        _ if options["transports"][0] == "polling" => TransportType::Polling,
        _ => TransportType::Websocket,
    }
}

fn builder(command: &Value) -> ClientBuilder {
    let number = command["socket"].as_u64().expect("a number");
    let text = |key: &str| command[key].as_str().expect("text").to_owned();
    let query = command["options"]["query"].as_str().unwrap_or_default();
    let url = format!("{}/{query}", text("url"));
    let connected = Arc::new(AtomicBool::new(false));
    let lost = Arc::clone(&connected);
    ClientBuilder::new(url)
        .namespace(text("namespace"))
        .auth(command["auth"].clone())
        .transport_type(transport(&command["options"]))
        .reconnect(true)
        .reconnect_on_disconnect(false)
        .reconnect_delay(RECONNECT_MS.0, RECONNECT_MS.1)
        .on(Event::Connect, move |_, _| {
            connected.store(true, Ordering::Relaxed);
            // It does not hand over its id, and it never resumes.
            report(&json!(["connected", number, "", false]));
            async {}.boxed()
        })
        .on(Event::Close, move |_, _| {
            report(&json!([
                "disconnected",
                number,
                "io server disconnect",
                false
            ]));
            async {}.boxed()
        })
        .on(Event::Error, move |payload, _| {
            let (words, _) = arguments(payload);
            let kind = match lost.swap(false, Ordering::Relaxed) {
                true => "disconnected",
                false => "error",
            };
            report(&json!([kind, number, json!(words).to_string(), true]));
            async {}.boxed()
        })
        .on_any(move |event, payload, _| {
            let (args, offset) = arguments(payload);
            report(&json!(["event", number, event.as_str(), args, offset]));
            async {}.boxed()
        })
}

async fn open(command: Value, clients: Clients) {
    let number = command["socket"].as_u64().expect("a number");
    loop {
        match builder(&command).connect().await {
            Ok(client) => {
                clients.lock().await.insert(number, client);
                return;
            }
            Err(error) => report(&json!(["error", number, error.to_string(), true])),
        }
        sleep(CONNECT_PAUSE).await;
    }
}

async fn emit(command: Value, client: Client) {
    let event = command["event"].as_str().expect("text").to_owned();
    let args = command["args"].as_array().cloned().unwrap_or_default();
    let Some(call) = command["call"].as_u64() else {
        let _not_connected = client.emit(event, args).await.is_err();
        return;
    };
    let wait = Duration::from_millis(command["wait"].as_u64().unwrap_or(0));
    let (answer, mut answered) = tokio::sync::mpsc::channel(1);
    let acknowledged = move |payload: Payload, _: Client| {
        let (args, _) = arguments(payload);
        let _late = answer.try_send(args).is_err();
        async {}.boxed()
    };
    let sent = client.emit_with_ack(event, args, wait, acknowledged).await;
    if let Err(error) = sent {
        return report(&json!(["failed", call, error.to_string()]));
    }
    match timeout(wait, answered.recv()).await {
        // What is acknowledged comes as one array of the arguments.
        Ok(Some(args)) => report(&json!(["answer", call, args[0][0]])),
        _ => report(&json!(["failed", call, "timed out"])),
    }
}

#[tokio::main]
async fn main() {
    let clients = Clients::default();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let command: Value = serde_json::from_str(&line).expect("a command");
        let what = command["do"].as_str().unwrap_or_default().to_owned();
        if what == "open" {
            tokio::spawn(open(command, Arc::clone(&clients)));
            continue;
        }
        let number = command["socket"].as_u64().unwrap_or_default();
        let client = clients.lock().await.get(&number).cloned();
        match (what.as_str(), client) {
            ("emit", Some(client)) => drop(tokio::spawn(emit(command, client))),
            ("emit", None) => report(&json!(["failed", command["call"], "not connected"])),
            ("close", Some(client)) => {
                let _already_gone = client.disconnect().await.is_err();
            }
            (other, _) => eprintln!("not a command of this client: {other}"),
        }
    }
}
