//! The owner's side of an upgrade that landed elsewhere.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use roomcast_proto::peer::{
    ForwardOutcome, UpgradeRequest, UpgradeResponse, upgrade_request, upgrade_response,
};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{carry_both, outcome_of, send_bytes, to_wire, write_bytes};
use crate::engine::moving::{Confirmed, Left, MovingSession, RemoteProbe};
use crate::engine::{Engine, Sid};
use crate::limits;
use crate::raft::UpgradeStream;

/// The steps of the node where the WebSocket landed.
type Steps = BoxStream<'static, Result<UpgradeRequest, Status>>;
/// The answers to it.
type Answers = mpsc::Sender<Result<UpgradeResponse, Status>>;

/// Answers an upgrade, as the owner of `sid`.
pub(in crate::adapter) fn serve(
    engine: &Arc<Engine>,
    sid: &str,
    steps: Steps,
) -> Result<UpgradeStream, Status> {
    let sid = Sid::parse(sid).ok_or_else(|| Status::invalid_argument("no id of a session"))?;
    let (answers, answered) = mpsc::channel(limits::UPGRADE_QUEUE_MAX);
    let begun = |outcome: ForwardOutcome| upgrade_response::Step::Begun(outcome.into());
    match engine.probe_from_elsewhere(&sid) {
        Ok(probe) => {
            tokio::spawn(async move {
                if answer(&answers, begun(ForwardOutcome::Done)).await {
                    run(probe, steps, answers).await;
                }
            });
        }
        Err(error) => {
            let refused = Ok(response(begun(outcome_of(error))));
            answers.try_send(refused).expect("an empty queue takes one");
        }
    }
    Ok(ReceiverStream::new(answered).boxed())
}

async fn run(probe: RemoteProbe, mut steps: Steps, answers: Answers) {
    let confirmed = tokio::select! {
        biased;
        () = probe.session_over() => false,
        confirmed = timeout(limits::PROBE_DEADLINE, confirmed(&probe, &mut steps)) => {
            confirmed.unwrap_or(false)
        }
    };
    if !confirmed {
        return;
    }
    match probe.confirmed().await {
        Confirmed::Leaves(session, left) => hand_over(session, left, &mut steps, &answers).await,
        Confirmed::Stays => carry(probe, steps, answers).await,
    }
}

/// Follows the probe; whether the client confirmed.
async fn confirmed(probe: &RemoteProbe, steps: &mut Steps) -> bool {
    let probed = next(steps).await;
    if !matches!(probed, Some(upgrade_request::Step::Probed(_))) {
        return false;
    }
    tokio::select! {
        biased;
        step = next(steps) => matches!(step, Some(upgrade_request::Step::Confirmed(_))),
        never = probe.release() => match never {},
    }
}

/// The session is the other node's once it says that all sockets are in place; until then `left`
/// ends it when it is dropped.
async fn hand_over(
    session: MovingSession,
    left: Box<dyn Left>,
    steps: &mut Steps,
    answers: &Answers,
) {
    if !answer(answers, upgrade_response::Step::Moved(to_wire(&session))).await {
        return;
    }
    let taken = timeout(limits::MOVE_DEADLINE, next(steps)).await;
    if matches!(taken, Ok(Some(upgrade_request::Step::Taken(_)))) {
        left.taken();
    }
}

/// The session stays, and its WebSocket is the stream from now on.
async fn carry(probe: RemoteProbe, steps: Steps, answers: Answers) {
    if !answer(&answers, upgrade_response::Step::Carried(true)).await {
        return;
    }
    let (ours, theirs) = tokio::io::duplex(limits::CARRY_CHUNK_BYTES);
    let (read, write) = tokio::io::split(ours);
    probe.carry(read, write).await;
    let (read, write) = tokio::io::split(theirs);
    let data = |bytes| Ok(response(upgrade_response::Step::Data(bytes)));
    let pieces = tokio_stream::StreamExt::map_while(steps, |step| match step.ok()?.step? {
        upgrade_request::Step::Data(bytes) => Some(bytes),
        _ => None,
    });
    let from_client = write_bytes(write, pieces);
    let to_client = async {
        send_bytes(read, &answers, data).await;
        drop(answers);
    };
    carry_both(from_client, to_client).await;
}

async fn next(steps: &mut Steps) -> Option<upgrade_request::Step> {
    steps.next().await?.ok()?.step
}

/// Whether the answer was taken.
async fn answer(answers: &Answers, step: upgrade_response::Step) -> bool {
    answers.send(Ok(response(step))).await.is_ok()
}

fn response(step: upgrade_response::Step) -> UpgradeResponse {
    UpgradeResponse { step: Some(step) }
}
