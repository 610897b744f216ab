//! One program's side of each operation, by HTTP or by gRPC, with the same outcome.

use std::net::SocketAddr;

use roomcast_cluster_tests::http;
use roomcast_proto::api::api_client::ApiClient;
use roomcast_proto::api::{self, publish_batch_response::outcome::Outcome};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tonic::Status;
use tonic::transport::Channel;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) offset: String,
    pub(crate) duplicate: bool,
}

pub(crate) enum Door {
    Http(SocketAddr),
    Grpc(ApiClient<Channel>),
}

/// The code of a refusal, as metadata names it.
fn code(status: Status) -> String {
    let code = status.metadata().get("roomcast-code");
    code.map_or_else(
        || format!("{status:?}"),
        |code| code.to_str().unwrap().to_owned(),
    )
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(text).collect()
}

fn target(room: &str) -> Option<api::Target> {
    Some(api::Target {
        rooms: vec![room.to_owned()],
        except: Vec::new(),
    })
}

fn event(name: &str, args: &str) -> Option<api::Event> {
    Some(api::Event {
        name: name.to_owned(),
        args: args.to_owned(),
        attachments: Vec::new(),
    })
}

async fn post(api: SocketAddr, path: &str, body: &str) -> Result<Value, String> {
    for _ in 0..5 {
        // A node that waits for a quorum takes longer than this client does.
        if let Ok(answer) = http::post(api, path, body).await {
            return read(&answer);
        }
    }
    Err("no answer".to_owned())
}

fn read(answer: &http::Answer) -> Result<Value, String> {
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(body["ok"], answer.status == 200, "{answer:?}");
    assert_eq!(
        answer.retry_after.is_some(),
        answer.status == 503,
        "{answer:?}"
    );
    match answer.status {
        200 => Ok(body),
        _ => Err(text(&body["error"]["code"])),
    }
}

async fn get(api: SocketAddr, path: &str) -> Value {
    read(&http::get(api, path).await.unwrap()).unwrap()
}

impl Door {
    pub(crate) const fn http(api: SocketAddr) -> Self {
        Self::Http(api)
    }

    pub(crate) async fn grpc(api: SocketAddr) -> Self {
        Self::Grpc(ApiClient::connect(format!("http://{api}")).await.unwrap())
    }

    pub(crate) async fn publish(
        &mut self,
        room: &str,
        name: &str,
        args: &str,
        key: Option<&str>,
    ) -> Result<Published, String> {
        match self {
            Self::Http(api) => {
                let key = json!(key);
                let body =
                    format!(r#"{{"rooms":["{room}"],"event":"{name}","args":{args},"key":{key}}}"#);
                let said = post(*api, "/v1/publish", &body).await?;
                Ok(Published {
                    offset: text(&said["offset"]),
                    duplicate: said["duplicate"] == true,
                })
            }
            Self::Grpc(client) => {
                let request = api::PublishRequest {
                    target: target(room),
                    event: event(name, args),
                    key: key.map(str::to_owned),
                    ..api::PublishRequest::default()
                };
                let said = client.publish(request).await.map_err(code)?.into_inner();
                Ok(Published {
                    offset: said.offset,
                    duplicate: said.duplicate,
                })
            }
        }
    }

    /// The offset of an event that is not logged.
    pub(crate) async fn unlogged(&mut self, room: &str, class: &str) -> String {
        match self {
            Self::Http(api) => {
                let body = json!({ "rooms": [room], "event": class, "class": class });
                let said = post(*api, "/v1/publish", &body.to_string()).await.unwrap();
                text(&said["offset"])
            }
            Self::Grpc(client) => {
                let class_of = match class {
                    "volatile" => api::Class::Volatile,
                    _ => api::Class::Transient,
                };
                let request = api::PublishRequest {
                    target: target(room),
                    event: event(class, ""),
                    class: class_of.into(),
                    ..api::PublishRequest::default()
                };
                client.publish(request).await.unwrap().into_inner().offset
            }
        }
    }

    pub(crate) async fn batch(
        &mut self,
        room: &str,
        names: &[&str],
    ) -> Vec<Result<String, String>> {
        match self {
            Self::Http(api) => {
                let one = |name: &&str| json!({ "rooms": [room], "event": name });
                let body = json!({ "publishes": names.iter().map(one).collect::<Vec<_>>() });
                let said = post(*api, "/v1/publish-batch", &body.to_string())
                    .await
                    .unwrap();
                let outcomes = said["outcomes"].as_array().unwrap().iter();
                let outcome = |outcome: &Value| match outcome["ok"] == true {
                    true => Ok(text(&outcome["offset"])),
                    false => Err(text(&outcome["error"]["code"])),
                };
                outcomes.map(outcome).collect()
            }
            Self::Grpc(client) => {
                let one = |name: &&str| api::PublishRequest {
                    target: target(room),
                    event: event(name, ""),
                    ..api::PublishRequest::default()
                };
                let publishes = names.iter().map(one).collect();
                let request = api::PublishBatchRequest { publishes };
                let said = client.publish_batch(request).await.unwrap().into_inner();
                let outcome = |outcome: api::publish_batch_response::Outcome| match outcome.outcome
                {
                    Some(Outcome::Published(published)) => Ok(published.offset),
                    Some(Outcome::Error(error)) => Err(error.code),
                    None => panic!("an outcome without one"),
                };
                said.outcomes.into_iter().map(outcome).collect()
            }
        }
    }

    /// Answers by socket, and who is missing.
    pub(crate) async fn emit_with_ack(
        &mut self,
        room: &str,
        name: &str,
        timeout_ms: u32,
    ) -> (Vec<(String, String)>, Vec<String>) {
        match self {
            Self::Http(api) => {
                let body = json!({ "rooms": [room], "event": name, "timeout_ms": timeout_ms });
                let answer = http::post(*api, "/v1/emit-with-ack", &body.to_string()).await;
                let answer = answer.unwrap();
                let said = read(&answer).unwrap();
                // The text of the arguments, as the client wrote it.
                #[derive(serde::Deserialize)]
                struct Said<'a> {
                    #[serde(borrow)]
                    answers: Vec<One<'a>>,
                }
                #[derive(serde::Deserialize)]
                struct One<'a> {
                    socket: String,
                    #[serde(borrow)]
                    args: &'a RawValue,
                }
                let given: Said<'_> = serde_json::from_str(&answer.body).unwrap();
                let given = given.answers.into_iter();
                let given = given.map(|one| (one.socket, one.args.get().to_owned()));
                (given.collect(), texts(&said["missing"]))
            }
            Self::Grpc(client) => {
                let request = api::EmitWithAckRequest {
                    target: target(room),
                    event: event(name, ""),
                    timeout_ms,
                    ..api::EmitWithAckRequest::default()
                };
                let said = client.emit_with_ack(request).await.unwrap().into_inner();
                let given = said.answers.into_iter();
                let given = given.map(|answer| (answer.socket, answer.args));
                (given.collect(), said.missing)
            }
        }
    }

    /// Nodes that answered, and how many did not.
    pub(crate) async fn server_side_emit(&mut self, name: &str) -> (Vec<u64>, usize) {
        match self {
            Self::Http(api) => {
                let body = json!({ "event": name, "with_ack": true, "timeout_ms": 1_500 });
                let said = post(*api, "/v1/server-side-emit", &body.to_string())
                    .await
                    .unwrap();
                let answers = said["answers"].as_array().unwrap().iter();
                let nodes = answers.map(|answer| answer["node_id"].as_u64().unwrap());
                (nodes.collect(), said["missing"].as_array().unwrap().len())
            }
            Self::Grpc(client) => {
                let request = api::ServerSideEmitRequest {
                    event: event(name, ""),
                    with_ack: true,
                    timeout_ms: 1_500,
                    ..api::ServerSideEmitRequest::default()
                };
                let said = client.server_side_emit(request).await.unwrap().into_inner();
                let nodes = said.answers.iter().map(|answer| answer.node_id);
                (nodes.collect(), said.missing.len())
            }
        }
    }

    pub(crate) async fn sockets_join(&mut self, room: &str, join: &str) {
        match self {
            Self::Http(api) => {
                let body = json!({ "rooms": [room], "join": [join] });
                post(*api, "/v1/sockets-join", &body.to_string())
                    .await
                    .unwrap();
            }
            Self::Grpc(client) => {
                let request = api::SocketsJoinRequest {
                    target: target(room),
                    rooms: vec![join.to_owned()],
                    ..api::SocketsJoinRequest::default()
                };
                client.sockets_join(request).await.unwrap();
            }
        }
    }

    pub(crate) async fn sockets_leave(&mut self, room: &str, leave: &str) {
        match self {
            Self::Http(api) => {
                let body = json!({ "rooms": [room], "leave": [leave] });
                post(*api, "/v1/sockets-leave", &body.to_string())
                    .await
                    .unwrap();
            }
            Self::Grpc(client) => {
                let request = api::SocketsLeaveRequest {
                    target: target(room),
                    rooms: vec![leave.to_owned()],
                    ..api::SocketsLeaveRequest::default()
                };
                client.sockets_leave(request).await.unwrap();
            }
        }
    }

    /// Closes the connections, too.
    pub(crate) async fn disconnect(&mut self, room: &str) {
        match self {
            Self::Http(api) => {
                let body = json!({ "rooms": [room], "close": true });
                post(*api, "/v1/disconnect-sockets", &body.to_string())
                    .await
                    .unwrap();
            }
            Self::Grpc(client) => {
                let request = api::DisconnectSocketsRequest {
                    target: target(room),
                    close: true,
                    ..api::DisconnectSocketsRequest::default()
                };
                client.disconnect_sockets(request).await.unwrap();
            }
        }
    }

    pub(crate) async fn set_data(&mut self, socket: &str, data: &str) -> Result<(), String> {
        match self {
            Self::Http(api) => {
                let body = format!(r#"{{"socket":"{socket}","data":{data}}}"#);
                post(*api, "/v1/set-data", &body).await.map(|_| ())
            }
            Self::Grpc(client) => {
                let request = api::SetDataRequest {
                    socket: socket.to_owned(),
                    data: data.to_owned(),
                    ..api::SetDataRequest::default()
                };
                client.set_data(request).await.map(|_| ()).map_err(code)
            }
        }
    }

    /// A page of one: ids with their data, and where the next one starts.
    pub(crate) async fn sockets(
        &mut self,
        room: &str,
        after: &str,
    ) -> (Vec<(String, Value)>, String) {
        match self {
            Self::Http(api) => {
                let after = match after {
                    "" => String::new(),
                    after => format!("&after={after}"),
                };
                let said = get(*api, &format!("/v1/sockets?room={room}&limit=1{after}")).await;
                let sockets = said["sockets"].as_array().unwrap().iter();
                let sockets = sockets.map(|socket| (text(&socket["id"]), socket["data"].clone()));
                (sockets.collect(), text(&said["next"]))
            }
            Self::Grpc(client) => {
                let request = api::FetchSocketsRequest {
                    target: target(room),
                    after: after.to_owned(),
                    limit: 1,
                    ..api::FetchSocketsRequest::default()
                };
                let said = client.fetch_sockets(request).await.unwrap().into_inner();
                let data = |data: &str| serde_json::from_str(data).unwrap();
                let sockets = said.sockets.into_iter();
                let sockets = sockets.map(|socket| (socket.id, data(&socket.data)));
                (sockets.collect(), said.next)
            }
        }
    }

    /// How many there are, and their ids.
    pub(crate) async fn members(&mut self, room: &str) -> (u64, Vec<String>) {
        match self {
            Self::Http(api) => {
                let said = get(*api, &format!("/v1/members?room={room}")).await;
                let members = said["members"].as_array().unwrap().iter();
                let members = members.map(|member| text(&member["id"]));
                (said["count"].as_u64().unwrap(), members.collect())
            }
            Self::Grpc(client) => {
                let request = api::MembersRequest {
                    room: room.to_owned(),
                    ..api::MembersRequest::default()
                };
                let said = client.members(request).await.unwrap().into_inner();
                let members = said.members.into_iter().map(|member| member.id);
                (said.count, members.collect())
            }
        }
    }

    pub(crate) async fn rooms(&mut self) -> Vec<(String, u64)> {
        match self {
            Self::Http(api) => {
                let said = get(*api, "/v1/rooms").await;
                let rooms = said["rooms"].as_array().unwrap().iter();
                let room = |room: &Value| (text(&room["name"]), room["count"].as_u64().unwrap());
                rooms.map(room).collect()
            }
            Self::Grpc(client) => {
                let request = api::RoomsRequest::default();
                let said = client.rooms(request).await.unwrap().into_inner();
                said.rooms
                    .into_iter()
                    .map(|room| (room.name, room.count))
                    .collect()
            }
        }
    }

    /// The names of the events.
    pub(crate) async fn history(&mut self, room: &str) -> Vec<String> {
        match self {
            Self::Http(api) => {
                let said = get(*api, &format!("/v1/history?room={room}&last=10")).await;
                let events = said["events"].as_array().unwrap().iter();
                events.map(|event| text(&event["event"])).collect()
            }
            Self::Grpc(client) => {
                let request = api::HistoryRequest {
                    room: room.to_owned(),
                    from: Some(api::history_request::From::Last(10)),
                    ..api::HistoryRequest::default()
                };
                let said = client.history(request).await.unwrap().into_inner();
                let events = said.events.into_iter();
                events.map(|logged| logged.event.unwrap().name).collect()
            }
        }
    }

    pub(crate) async fn status_node(&mut self) -> u64 {
        let status: Value = match self {
            Self::Http(api) => {
                let answer = http::get(*api, "/v1/status").await.unwrap();
                serde_json::from_str(&answer.body).unwrap()
            }
            Self::Grpc(client) => {
                let said = client.status(api::StatusRequest::default()).await;
                serde_json::from_str(&said.unwrap().into_inner().json).unwrap()
            }
        };
        status["node_id"].as_u64().unwrap()
    }
}
