//! Carries out what an application answered, in its order.

use std::future::IntoFuture;

use bytes::Bytes;
use roomcast_proto::api;
use serde_json::value::RawValue;

use super::message::{Act, Acted, Emit, Refused};
use crate::messages;
use crate::socketio::{Operation, Refusal, Socket, Target, refused};

/// The operations, then the answer: a JSON array, if there is one. It is sent when they are
/// applied.
pub(super) async fn carry_out(socket: &Socket, acted: Acted) -> Result<Option<Bytes>, Refusal> {
    run(socket, acted.operations).await?;
    if let Some(Refused { code, message }) = acted.error {
        crate::metrics::refusals("application").increment(1);
        return Ok(Some(refused(&code, &message)));
    }
    Ok(acted.answer.map(|args| array(&args).into()))
}

/// Issues all of them in their order, then waits for each; the first that failed is told.
pub(super) async fn run(socket: &Socket, operations: Vec<Act>) -> Result<(), Refusal> {
    let mut issued = Vec::new();
    let mut end = None;
    for act in operations {
        let operation = match act {
            Act::Join(rooms) => socket.join(rooms),
            Act::Leave(rooms) => socket.leave(rooms),
            Act::SetData(data) => socket.set_data(data),
            Act::Emit(emit) => match emitted(socket, emit)? {
                Some(operation) => operation,
                None => continue,
            },
            Act::Disconnect(close) => {
                end = Some(close);
                break;
            }
        };
        issued.push(operation.into_future());
    }
    let mut outcome = Ok(());
    for operation in issued {
        let done = operation.await;
        outcome = outcome.and(done.map(drop));
    }
    if let Some(close) = end {
        socket.disconnect(close);
    }
    outcome.map_err(Refusal::from)
}

/// None for an event that is not logged: it is on its way.
fn emitted(socket: &Socket, emit: Emit) -> Result<Option<Operation>, Refusal> {
    let own = emit.rooms.is_none() && emit.except.is_none();
    let target = Target {
        rooms: match own {
            true => vec![socket.id().to_owned()],
            false => emit.rooms.unwrap_or_default(),
        },
        except: emit.except.unwrap_or_default(),
    };
    let event = messages::payload(Some(api::Event {
        name: emit.event,
        args: array(&emit.args),
        attachments: emit.attachments,
    }))?;
    let broadcast = socket.publish(target).key(emit.key);
    if emit.volatile {
        broadcast
            .volatile()
            .emit_raw(event.json, event.attachments)?;
        return Ok(None);
    }
    Ok(Some(broadcast.emit_raw(event.json, event.attachments)))
}

/// A JSON array.
fn array(args: &[Box<RawValue>]) -> String {
    let parts: Vec<&str> = args.iter().map(|arg| arg.get()).collect();
    format!("[{}]", parts.join(","))
}
