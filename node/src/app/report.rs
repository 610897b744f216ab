//! Brings what is counted elsewhere into the metrics, once a second: the engine's plain counters,
//! and where the groups stand.

use std::sync::Arc;
use std::time::Duration;

use crate::adapter::Adapter;
use crate::engine::{CloseReason, CounterValues, Engine};
use crate::metrics::{self, Metrics};

const EVERY: Duration = Duration::from_secs(1);
/// Ticks from one look at the groups' namespaces to the next: there may be many.
const STATE_TICKS: u32 = 5;

/// Runs until the node stops.
pub(super) async fn run(adapter: Arc<Adapter>, engine: Arc<Engine>, recorder: Metrics) {
    let mut every = tokio::time::interval(EVERY);
    let mut leaders = vec![None; adapter.groups().len()];
    for tick in (0..STATE_TICKS).cycle() {
        every.tick().await;
        if tick == 0 {
            states(&adapter);
        }
        sessions(&engine.counters().values());
        groups(&adapter, &mut leaders);
        recorder.run_upkeep();
    }
}

fn sessions(values: &CounterValues) {
    metrics::sessions().set(values.open() as f64);
    metrics::session_opens().absolute(values.opened);
    for (reason, count) in CloseReason::ALL.iter().zip(values.closed) {
        metrics::session_closes(reason.label()).absolute(count);
    }
    metrics::handshakes_refused("for_now").absolute(values.refused);
    metrics::handshakes_refused("malformed").absolute(values.bad_handshakes);
    metrics::connections_refused().absolute(values.connections_refused);
    metrics::messages_in().absolute(values.messages_in);
    metrics::bytes_in().absolute(values.bytes_in);
    metrics::frames_out().absolute(values.frames_out);
    metrics::bytes_out().absolute(values.bytes_out);
    metrics::writes().absolute(values.writes);
    metrics::outbox_full().absolute(values.outbox_full);
}

fn states(adapter: &Adapter) {
    for group in adapter.groups() {
        let view = group.view();
        let label = group.id.to_string();
        let counts = view.counts();
        metrics::events_kept(label.clone()).set(counts.events as f64);
        metrics::events_spared(label.clone()).set(counts.spared as f64);
        metrics::subscribers(label.clone()).set(counts.subscribers as f64);
        metrics::lifecycle_records(label.clone()).set(view.record_count() as f64);
        let lag = Duration::from_micros(view.lag_us());
        metrics::acknowledge_lag_seconds(label).set(lag.as_secs_f64());
    }
}

fn groups(adapter: &Adapter, leaders: &mut [Option<u64>]) {
    for (group, known) in adapter.groups().iter().zip(leaders) {
        let status = adapter.consensus().status(group.id);
        let label = group.id.to_string();
        metrics::applied_index(label.clone()).set(status.applied as f64);
        metrics::log_first_index(label.clone()).set(status.first as f64);
        metrics::leading(label.clone()).set(f64::from(u8::from(status.leading)));
        metrics::lease_held(label.clone()).set(f64::from(u8::from(group.holds_lease())));
        if status.leader.is_some() && status.leader != *known {
            metrics::leader_changes(label).increment(1);
            *known = status.leader;
        }
    }
}
