//! Every metric: name, unit, help. The one place that knows names; others call the functions here
//! and keep what they return, which makes counting one atomic operation.
//!
//! [`install`] comes first in a process: a handle taken before it counts nowhere.

use std::sync::OnceLock;

use metrics::{Counter, Gauge, Histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper bounds of the buckets of operations per batch.
const BATCH_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1024.0, 4096.0];
/// Upper bounds of the buckets of durations, in seconds.
const SECONDS_BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0,
];

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of values by size.
    Histogram,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name; the unit is part of it.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// Its labels; each takes few values, all of them known at compile time or node and group ids.
    pub labels: &'static [&'static str],
    /// What it tells, with its unit.
    pub help: &'static str,
}

/// A label's value.
pub type Label = metrics::SharedString;

macro_rules! handle {
    (Counter) => {
        Counter
    };
    (Gauge) => {
        Gauge
    };
    (Histogram) => {
        Histogram
    };
}

macro_rules! take {
    (Counter, $($rest:tt)*) => { metrics::counter!($($rest)*) };
    (Gauge, $($rest:tt)*) => { metrics::gauge!($($rest)*) };
    (Histogram, $($rest:tt)*) => { metrics::histogram!($($rest)*) };
}

macro_rules! metrics_table {
    ($($kind:ident $function:ident($($label:ident),*) $name:literal $help:literal;)+) => {
        $(
            #[doc = concat!("`", $name, "`: ", $help, ".")]
            pub fn $function($($label: impl Into<Label>),*) -> handle!($kind) {
                take!($kind, $name $(, stringify!($label) => $label.into())*)
            }
        )+

        /// Every metric, in the order of this file.
        pub const METRICS: &[Metric] = &[
            $(Metric {
                name: $name,
                kind: Kind::$kind,
                labels: &[$(stringify!($label)),*],
                help: $help,
            },)+
        ];
    };
}

metrics_table! {
    // Connections and sessions (Engine.IO).
    Gauge sessions() "roomcast_sessions"
        "Engine.IO sessions open on this node";
    Counter session_opens() "roomcast_session_opens_total"
        "Engine.IO sessions opened";
    Counter session_closes(reason) "roomcast_session_closes_total"
        "Engine.IO sessions closed, by reason";
    Counter handshakes_refused(reason) "roomcast_handshakes_refused_total"
        "Handshakes refused, by reason";
    Counter protocol_errors(kind) "roomcast_protocol_errors_total"
        "What clients sent against the rules, by kind; all but a large POST end their session";
    Counter connections_refused() "roomcast_connections_refused_total"
        "TCP connections refused at the limit of the client port";
    Counter messages_in() "roomcast_messages_in_total"
        "Messages received from clients";
    Counter bytes_in() "roomcast_in_bytes_total"
        "Bytes of messages received from clients";
    Counter frames_out() "roomcast_frames_out_total"
        "Frames written to clients";
    Counter bytes_out() "roomcast_out_bytes_total"
        "Bytes of frames written to clients";
    Counter writes() "roomcast_writes_total"
        "Vectored writes; frames by writes is how well writing coalesces";
    Counter outbox_full() "roomcast_outbox_full_total"
        "Times a session's outbox was full";
    Counter http_requests(route, status) "roomcast_http_requests_total"
        "HTTP requests answered, by route and status";
    Counter grpc_calls(method, code) "roomcast_grpc_calls_total"
        "gRPC calls of programs answered, by method and status code; of streams, their beginnings";

    // Sockets (Socket.IO).
    Gauge sockets() "roomcast_sockets"
        "Socket.IO sockets connected to this node";
    Counter connects(result) "roomcast_connects_total"
        "Socket.IO connects, by result";
    Counter disconnects(reason) "roomcast_disconnects_total"
        "Socket.IO sockets closed, by reason";
    Counter resumes(result) "roomcast_resumes_total"
        "Resumes tried, by result: recovered, or why not";
    Gauge catching_up() "roomcast_catching_up_sockets"
        "Sockets that read what they missed from the log";
    Counter fell_behind() "roomcast_sockets_fell_behind_total"
        "Times that a live socket turned to catching up because its outbox was full";
    Counter events_published() "roomcast_events_published_total"
        "Logged events that handlers of this node issued";
    Counter deliveries() "roomcast_deliveries_total"
        "Events put into outboxes of sockets";
    Counter replayed() "roomcast_replayed_events_total"
        "Events read from the log for sockets that catch up";
    Counter volatile_dropped() "roomcast_volatile_dropped_total"
        "Volatile events dropped because a transport was not writable";
    Counter transient_dropped() "roomcast_transient_dropped_total"
        "Transient events dropped at a bound: outbox, catching-up socket, fan-out or peer queue";
    Counter refusals(code) "roomcast_refusals_total"
        "Client operations refused, by error code";
    Counter handler_panics(handler) "roomcast_handler_panics_total"
        "Handlers of the application that panicked, by which";
    Counter webhooks(kind, outcome) "roomcast_webhooks_total"
        "Webhooks, by kind and outcome: answered, refused, failed, overloaded, dropped";
    Counter webhook_retries() "roomcast_webhook_retries_total"
        "Attempts of webhooks that failed and were, or would have been, made again";
    Counter relay_sent(kind) "roomcast_relay_sent_total"
        "Messages sent to other nodes outside the log, by kind";
    Counter forwards(result) "roomcast_forwarded_requests_total"
        "Requests of polling clients forwarded to the node that owns their session, by result";
    Counter forwarded_upgrades(result) "roomcast_forwarded_upgrades_total"
        "Upgrades whose WebSocket landed on another node than their session, by result: moved, \
         carried (the session stayed and its bytes are proxied), refused, lost";
    Counter relay_received(kind) "roomcast_relay_received_total"
        "Messages received from other nodes outside the log, by kind";
    Counter relay_dropped(kind) "roomcast_relay_dropped_total"
        "Messages to other nodes dropped because their queue was full, by kind";

    // Backends: programs that serve namespaces over a stream.
    Gauge backends() "roomcast_backends"
        "Backends whose stream ends at this node";
    Counter backend_calls(kind, result) "roomcast_backend_calls_total"
        "Calls of this node's sockets to backends, by kind and result: done, lost (the backend \
         went without an answer), timeout, overloaded";
    Gauge backend_calls_open() "roomcast_backend_calls_open"
        "Calls of this node's sockets to backends that are open";
    Histogram backend_call_seconds() "roomcast_backend_call_seconds"
        "Seconds from the start of a call to a backend to its answer, waiting for a place included";
    Counter backend_rebinds() "roomcast_backend_rebinds_total"
        "Sockets of this node that were bound to another backend because theirs had gone";

    // Log and replication.
    Counter proposals(result) "roomcast_proposals_total"
        "Batches sent to a leader by this node: sent, and sent again";
    Counter operations() "roomcast_operations_total"
        "Operations proposed by this node";
    Histogram batch_operations() "roomcast_batch_operations"
        "Operations per batch";
    Histogram proposal_seconds() "roomcast_proposal_seconds"
        "Seconds from proposing a batch to having applied it";
    Gauge proposals_waiting() "roomcast_proposals_waiting"
        "Operations that wait to be proposed";
    Gauge applied_index(group) "roomcast_applied_index"
        "Last applied entry, by group";
    Gauge leading(group) "roomcast_leading"
        "1 while this node leads the group";
    Counter leader_changes(group) "roomcast_leader_changes_total"
        "Changes of a group's known leader";
    Gauge log_first_index(group) "roomcast_log_first_index"
        "First entry kept in this node's log, by group";
    Histogram log_write_seconds() "roomcast_log_write_seconds"
        "Seconds for one write and sync of the log, whatever it holds";
    Counter log_bytes_written() "roomcast_log_written_bytes_total"
        "Bytes written to the log";
    Gauge log_disk_bytes() "roomcast_log_disk_bytes"
        "Bytes of the log's files, preallocated ones included";
    Gauge log_memory_bytes() "roomcast_log_memory_bytes"
        "Bytes of the log's index and of the entries that it keeps in memory";
    Gauge log_space_low() "roomcast_log_space_low"
        "1 while the log's disk has less than disk-reserve-bytes left, 2 below half of it";
    Counter log_reclaimed_bytes() "roomcast_log_reclaimed_bytes_total"
        "Bytes of log files removed because nobody needs them any more";
    Counter log_copied_bytes() "roomcast_log_copied_bytes_total"
        "Bytes copied to archives, so that the segments they stood in could go";
    Gauge history_holes(group) "roomcast_history_holes"
        "Entries with events that can be replayed and that this node's log lacks, by group: after \
         a snapshot from another node they are fetched from the others";
    Counter backfilled_bytes() "roomcast_backfilled_bytes_total"
        "Bytes of entries that were fetched from other nodes and stored";
    Counter entries_applied() "roomcast_entries_applied_total"
        "Entries applied";
    Counter snapshots() "roomcast_snapshots_total"
        "Snapshots built";
    Counter snapshots_resumed() "roomcast_snapshots_resumed_total"
        "Transfers of a snapshot to another node that went on where an earlier one broke";
    Counter transfer_sent_bytes(kind) "roomcast_transfer_sent_bytes_total"
        "Bytes sent to other nodes in bulk, by kind: snapshot, history";
    Counter detaches() "roomcast_detaches_total"
        "Incarnations whose lease ran out, proposed by this node as leader";
    Counter acknowledge_reports() "roomcast_acknowledge_reports_total"
        "Times the log was told what the clients of this node have, in any group";
    Counter acknowledge_exceptions() "roomcast_acknowledge_exceptions_total"
        "Sockets that were listed by themselves for it, because they lag or have caught up";
    Gauge acknowledge_lag_seconds(group) "roomcast_acknowledge_lag_seconds"
        "Age of the oldest event that some session has not acknowledged, in log time, by group";
    Gauge events_kept(group) "roomcast_events_kept"
        "Events that can be replayed, by group";
    Gauge events_kept_bytes(group) "roomcast_events_kept_bytes"
        "Bytes of events that can be replayed, as retention charges them, by group";
    Gauge subscribers(group) "roomcast_subscribers"
        "Durable subscribers, by group";
    Gauge events_spared(group) "roomcast_events_spared"
        "Events kept beyond retention because durable subscribers are owed them, by group";
    Counter expiries_dropped() "roomcast_expiries_dropped_total"
        "Expired sessions that no handler was told of: too many waited, or there was none yet";
    Gauge followers() "roomcast_followers"
        "Followers of namespaces that this node serves";
    Counter followers_refused() "roomcast_followers_refused_total"
        "Followers refused because this node has as many as it may have";
    Counter follower_gaps() "roomcast_follower_gaps_total"
        "Times a follower was told of a gap: what it had to be told was not kept any more";
    Gauge presence_rooms() "roomcast_presence_rooms"
        "Rooms whose membership this node follows for clients";
    Counter presence_diffs(kind) "roomcast_presence_diffs_total"
        "Diffs of memberships told to sockets, by kind: full, more (the list must be read anew)";
    Gauge lifecycle_records(group) "roomcast_lifecycle_records"
        "Records of what became of sessions that followers can still be told, by group";
    Counter subscribers_ended(limit) "roomcast_subscribers_ended_total"
        "Durable subscribers that ended as this node saw, by limit: window, events, bytes";
    Gauge lease_held(group) "roomcast_lease_held"
        "1 while this node's lease in the group is renewed";
}

/// Renders what was counted.
#[derive(Debug, Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// The Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.run_upkeep();
        self.0.render()
    }

    /// Moves pending histogram samples to their buckets. Bounds memory where nobody scrapes: call
    /// it every few seconds.
    pub fn run_upkeep(&self) {
        self.0.run_upkeep();
    }
}

/// Another recorder is installed in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another metrics recorder is installed in this process")]
pub struct InstallError;

/// Makes this process count; later calls answer with the same metrics.
///
/// # Errors
/// When a recorder of somebody else is installed.
pub fn install() -> Result<Metrics, InstallError> {
    static INSTALLED: OnceLock<Result<Metrics, InstallError>> = OnceLock::new();
    INSTALLED.get_or_init(install_once).clone()
}

fn install_once() -> Result<Metrics, InstallError> {
    let recorder = buckets(PrometheusBuilder::new()).build_recorder();
    let metrics = Metrics(recorder.handle());
    metrics::set_global_recorder(recorder).map_err(|_| InstallError)?;
    METRICS.iter().for_each(describe);
    Ok(metrics)
}

fn buckets(mut builder: PrometheusBuilder) -> PrometheusBuilder {
    for metric in METRICS
        .iter()
        .filter(|metric| metric.kind == Kind::Histogram)
    {
        let bounds: &[f64] = if metric.name.ends_with("_seconds") {
            &SECONDS_BUCKETS
        } else {
            &BATCH_BUCKETS
        };
        let matcher = Matcher::Full(metric.name.to_owned());
        builder = builder
            .set_buckets_for_metric(matcher, bounds)
            .expect("there are bounds");
    }
    builder
}

/// Describes a metric; one without labels is shown as zero from the start.
fn describe(metric: &Metric) {
    match metric.kind {
        Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
        Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
        Kind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
    }
    if !metric.labels.is_empty() {
        return;
    }
    match metric.kind {
        Kind::Counter => metrics::counter!(metric.name).increment(0),
        Kind::Gauge => metrics::gauge!(metric.name).increment(0.0),
        Kind::Histogram => drop(metrics::histogram!(metric.name)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_end_with_their_unit_or_total() {
        let names: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
        for metric in METRICS {
            let total = metric.name.ends_with("_total");
            assert_eq!(total, metric.kind == Kind::Counter, "{}", metric.name);
            assert!(metric.name.starts_with("roomcast_") && !metric.help.ends_with('.'));
        }
    }

    #[test]
    fn installing_twice_is_one_recorder() {
        let (first, second) = (install().unwrap(), install().unwrap());
        deliveries().increment(0);
        assert!(
            first
                .render()
                .contains("# TYPE roomcast_deliveries_total counter\n")
        );
        assert!(
            second
                .render()
                .contains("# TYPE roomcast_deliveries_total counter\n")
        );
    }

    #[test]
    fn what_is_counted_is_rendered_with_its_help() {
        let recorder = buckets(PrometheusBuilder::new()).build_recorder();
        let rendered = Metrics(recorder.handle());
        metrics::with_local_recorder(&recorder, || {
            METRICS.iter().for_each(describe);
            resumes("recovered").increment(2);
            applied_index(3.to_string()).set(17.0);
            batch_operations().record(3.0);
        });
        let text = rendered.render();
        for line in [
            "roomcast_replayed_events_total 0\n",
            "# HELP roomcast_resumes_total Resumes tried, by result: recovered, or why not\n",
            "# TYPE roomcast_resumes_total counter\n",
            "roomcast_resumes_total{result=\"recovered\"} 2\n",
            "roomcast_applied_index{group=\"3\"} 17\n",
            "roomcast_batch_operations_bucket{le=\"4\"} 1\n",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
