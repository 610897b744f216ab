//! A chat in a terminal: lines typed go to the room, lines of the room are printed.
//!
//! `cargo run -p roomcast-client --example chat -- <room> <name> ws://host:port [ws://host:port]`
//!
//! Start two, kill the node that one of them is on, and go on typing.

use std::env;
use std::error::Error;

use roomcast_client::{Client, ClientOptions, HistoryQuery, Notice, SocketOptions};
use serde_json::{Value, json};
use tokio::sync::mpsc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(room), Some(name)) = (arguments.next(), arguments.next()) else {
        return Err("usage: chat <room> <name> ws://host:port ...".into());
    };
    let client = Client::new(arguments, ClientOptions::default())?;
    let (socket, mut inbox) = client.socket("/", SocketOptions::default())?;
    let pubsub = socket.pubsub();

    pubsub.join(&room).await?;
    for line in pubsub.history(&room, HistoryQuery::last(10)).await?.events {
        print_line("  ", &line.args);
    }
    let mut typed = typed_lines();
    loop {
        tokio::select! {
            line = typed.recv() => {
                let Some(line) = line else { break };
                let args = [json!(name), json!(line)];
                if let Err(error) = pubsub.publish(room.as_str(), "line", args).await {
                    println!("* not sent: {error}");
                }
            }
            notice = inbox.recv() => match notice {
                Some(Notice::Event(event)) if event.name == "line" => print_line("", &event.args),
                Some(Notice::Connected(now)) => {
                    println!("* on {}, recovered: {}", now.endpoint, now.recovered);
                    if !now.recovered {
                        pubsub.join(&room).await?;
                    }
                }
                Some(Notice::Disconnected { reason }) => println!("* lost: {reason}"),
                Some(other) => println!("* {other:?}"),
                None => break,
            },
        }
    }
    client.close().await;
    Ok(())
}

/// Lines from the terminal; reading them blocks, hence a thread.
fn typed_lines() -> mpsc::Receiver<String> {
    let (lines, typed) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                break;
            }
        }
    });
    typed
}

fn print_line(indent: &str, args: &[Value]) {
    let text = |index: usize| args.get(index).and_then(Value::as_str).unwrap_or("?");
    println!("{indent}{}: {}", text(0), text(1));
}
