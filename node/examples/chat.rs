//! A chat: names, rooms, private messages, who is there. `cargo run --example chat-server`, then in
//! a page with the official client `io("http://127.0.0.1:3000/chat", { auth: { name: "ann" } })`.
//! With flags it is a node of a cluster, as `roomcast serve` is: see `-- --help`.

use roomcast::{Admission, Connect, ConnectNext, Namespace, Refusal, Rejection, Reply, Socket};
use roomcast::{ServeConfig, Server, from_fn};

async fn login(mut connect: Connect, next: ConnectNext) -> Result<Admission, Rejection> {
    let name = connect.auth["name"].as_str().map(str::to_owned);
    connect.admission.identity = Some(name.ok_or(Rejection::new("who are you?"))?);
    next.run(connect).await
}

async fn join(socket: Socket, room: String) -> Result<Reply<Vec<String>>, Refusal> {
    socket.join(&room).await?;
    let joined = (&room, socket.identity());
    socket.to(&room).emit("joined", joined).await?;
    let members = socket.io().to(&room).fetch_sockets().into_iter();
    Ok(Reply(members.filter_map(|who| who.identity).collect()))
}

async fn say(socket: Socket, (room, text): (String, String)) -> Result<(), Refusal> {
    if !socket.rooms().contains(&room) {
        return Err(Refusal::forbidden("join the room first"));
    }
    let said = (&room, socket.identity(), text);
    socket.within(&room).emit("said", said).await?;
    Ok(())
}

async fn whisper(socket: Socket, (name, text): (String, String)) -> Result<(), Refusal> {
    let whispered = (socket.identity(), text);
    socket.to(own(&name)).emit("whispered", whispered).await?;
    Ok(())
}

/// Everybody is in a room of their own name, with all their tabs.
fn own(name: &str) -> String {
    format!("@{name}")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let chat = Namespace::new()
        .connect_layer(from_fn(login))
        .on_connect(|me: Socket| me.join(own(me.identity().unwrap_or_default())))
        .on("join", join)
        .on("say", say)
        .on("whisper", whisper);
    let mut config = ServeConfig::single_node("chat-data");
    config.client_addr = ([127, 0, 0, 1], 3000).into();
    if std::env::args().len() > 1 {
        config = roomcast::serve_config()?;
    }
    let server = Server::builder(config).namespace("/chat", chat);
    Ok(server.run().await?)
}
