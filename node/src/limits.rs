//! Every bound of this crate by name, with its unit, its reason and the policy at the limit. A
//! bound that an operator may change is a `Config` field; what stands here is its default.

use std::time::Duration;

/// Bytes of frames that may wait for one client (1 MiB). At the limit a push is refused and the
/// caller decides: a live socket turns to catching up, a volatile frame is dropped. A single frame
/// larger than this is still taken when nothing else waits, else it could never be delivered.
pub const OUTBOX_BYTES_MAX: usize = 1024 * 1024;
/// Frames that may wait for one client; same policy. Bounds the per-frame overhead of tiny frames.
pub const OUTBOX_FRAMES_MAX: usize = 4096;
/// Bytes for which the kernel is asked to send to one client (Linux takes it twice, its overhead
/// included); at the limit the outbox fills. Left alone it grows to megabytes for each client that
/// does not read, outside every limit of ours. A client 100 ms away still gets 2 MB/s.
pub const SEND_BUFFER_BYTES: u32 = 128 * 1024;
/// Frames handed to one vectored write. Linux takes 1,024; 64 already hides the cost of a write.
pub const WRITE_BATCH_FRAMES_MAX: usize = 64;

/// Bytes read from a connection at once, on the stack: an idle connection keeps no read buffer.
pub const READ_CHUNK_BYTES: usize = 8 * 1024;
/// Bytes reserved for a message on the word of its header alone; more is reserved as bytes arrive,
/// so that headers without bodies cost no memory.
pub const READ_RESERVE_BYTES_MAX: usize = 64 * 1024;
/// Frames of one fragmented message; above, the connection is closed. Empty fragments would
/// otherwise cost work without ever reaching the size limit.
pub const FRAGMENTS_MAX: u32 = 16 * 1024;
/// Largest Engine.IO message by default, in bytes: `maxHttpBufferSize` of the reference.
pub const MAX_PAYLOAD_BYTES: usize = 1_000_000;

/// Time between a PONG and the next PING by default (reference: 25 s).
pub const PING_INTERVAL: Duration = Duration::from_secs(25);
/// Time a client has for its PONG by default (reference: 20 s).
pub const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Lateness of a timer that is not held against the clock of the heartbeat.
pub const TIMER_SLACK: Duration = Duration::from_millis(10);
/// Time a session may live without joining a namespace (reference `connectTimeout`: 45 s).
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(45);
/// Time a closing session may use to write what waits and its close frame; then TCP is cut.
pub const CLOSE_FLUSH_DEADLINE: Duration = Duration::from_secs(1);
/// Time a closed session waits for the client's end of stream: closing a connection with unread
/// bytes makes the kernel send a reset, which can destroy the close frame on its way.
pub const CLOSE_LINGER_DEADLINE: Duration = Duration::from_secs(1);
/// Bytes read and discarded during that wait.
pub const CLOSE_LINGER_BYTES_MAX: usize = 256 * 1024;
/// Time a closing session on polling has to fetch what waits and then its close packet, each with a
/// GET of its own. After that its next GET is answered as unknown, which ends it as well.
pub const POLLING_CLOSE_DEADLINE: Duration = Duration::from_secs(5);
/// Bytes of a GET's `t` that are remembered; a longer one is not looked at.
pub const STAMP_BYTES_MAX: usize = 64;
/// How long a client's close by POST waits for the GET that the client sent beside it.
pub const POLLING_RACE_DEADLINE: Duration = Duration::from_millis(50);
/// Time from a WebSocket's arrival for a session on polling to the end of its upgrade (reference
/// `upgradeTimeout`: 10 s); after that the WebSocket is closed and the session stays on polling.
pub const PROBE_DEADLINE: Duration = Duration::from_secs(10);
/// Requests that this node has forwarded to others and waits for; above, a request gets 503. A GET
/// waits as long as its session has nothing to say. Below the streams of a peer connection.
pub const FORWARDS_IN_FLIGHT_MAX: usize = 16 * 1024;
/// Time that the body of a POST for another node's session may take to arrive; the owner's
/// heartbeat judges its client only on what has arrived.
pub const FORWARD_RECEIVE_DEADLINE: Duration = Duration::from_secs(20);
/// Time that a forwarded request may take beyond the heartbeat, which answers every GET.
pub const FORWARD_SLACK: Duration = Duration::from_secs(5);
/// Time that a session whose client confirmed an upgrade at another node has to become quiet, so
/// that it can move: operations, handlers, answers. After that its bytes are carried instead.
pub const MOVE_SETTLE_DEADLINE: Duration = Duration::from_secs(2);
/// How often a session that is about to move is looked at.
pub const MOVE_SETTLE_STEP: Duration = Duration::from_millis(1);
/// Bytes that may wait in the outbox of a session that moves: they travel in one message. With more
/// its bytes are carried instead.
pub const MOVE_OUTBOX_BYTES_MAX: usize = 6 * 1024 * 1024;
/// Sessions that moved to other nodes and whose ids are remembered, so that a late request is
/// refused as after any upgrade; the oldest are forgotten, and then unknown.
pub const MOVED_SIDS_MAX: usize = 4096;
/// Time that the owner of a session may take to say whether a WebSocket at another node may probe.
pub const UPGRADE_BEGIN_DEADLINE: Duration = Duration::from_secs(5);
/// Time from a session's departure to the moment when all its sockets are in place elsewhere; after
/// that it has lost its transport, as far as its old owner knows.
pub const MOVE_DEADLINE: Duration = Duration::from_secs(8);
/// Messages of an upgrade under way between two nodes; above, the sender waits, and with it the
/// client whose bytes are carried.
pub const UPGRADE_QUEUE_MAX: usize = 4;
/// Time that one direction of a carried WebSocket has after the other has ended.
pub const CARRY_END_DEADLINE: Duration = Duration::from_secs(5);
/// Bytes of one message that carries a WebSocket's bytes, and of what waits at either end.
pub const CARRY_CHUNK_BYTES: usize = 16 * 1024;
/// Pause between the answer to a probe and the first release of a waiting GET: time for a
/// confirmation that was sent along with the probe.
pub const PROBE_RELEASE_AFTER: Duration = Duration::from_millis(5);
/// Pause between two releases of a waiting GET during an upgrade, as in the reference.
pub const PROBE_RELEASE_EVERY: Duration = Duration::from_millis(100);

/// Bytes from which the answer to a polling GET is compressed by default (reference
/// `httpCompression.threshold`: 1024).
pub const COMPRESSION_BYTES_MIN: usize = 1024;
/// Bytes compressed at a stretch (a third of a millisecond); then other tasks get their turn.
pub const COMPRESSION_SLICE_BYTES: usize = 64 * 1024;

/// Bytes of one file of the client bundle, which is kept in memory; a node with a larger one does
/// not start.
pub const CLIENT_BUNDLE_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Engine.IO sessions on one node by default; above, a handshake gets 503 and goes elsewhere.
pub const SESSIONS_MAX: usize = 100_000;
/// HTTP connections that carry no session, by default: probes, pages, handshakes under way. At the
/// limit a connection gets 503 unread. Apart from the sessions, so that a full node still answers
/// its probes.
pub const HTTP_CONNECTIONS_MAX: usize = 8192;
/// Connections over the limit that are being told so; above, they are just dropped.
pub const REFUSALS_IN_FLIGHT_MAX: usize = 64;
/// Time a client has to send a request's head, also the idle time of a kept-alive connection.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Headers of one request; above, hyper answers 431.
pub const HEADERS_MAX: usize = 64;
/// Bytes of one request's head; above, hyper answers 431.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Time between the 101 and the upgraded connection; it only passes when the client is gone.
pub const UPGRADE_DEADLINE: Duration = Duration::from_secs(10);
/// Seconds that a refused client is asked to wait when the node is full or draining.
pub const RETRY_AFTER_S: u32 = 1;
/// First and last pause of the accept loop when the system is out of file descriptors or memory.
pub const ACCEPT_BACKOFF: (Duration, Duration) =
    (Duration::from_millis(10), Duration::from_secs(1));
/// Waiting connections the kernel keeps: all clients of a dead node return within a second.
pub const LISTEN_BACKLOG: u32 = 4096;
/// Step of a paced drain; each step closes its share of the sessions.
pub const DRAIN_STEP: Duration = Duration::from_millis(50);

const _: () = assert!(
    OUTBOX_BYTES_MAX > MAX_PAYLOAD_BYTES,
    "one largest message must fit"
);
const _: () = assert!(
    SOCKET_JOINING_BYTES_MAX <= OUTBOX_BYTES_MAX / 2
        && SOCKET_JOINING_EVENTS_MAX <= OUTBOX_FRAMES_MAX / 2,
    "what a joining socket holds must fit an outbox that is half full"
);
const _: () = assert!(READ_CHUNK_BYTES >= 14, "a frame header must fit a chunk");

// --- Between sockets and the log
// -------------------------------------------------------------------

/// How long an operation waits for a leader before it is refused as `unavailable`, or its outcome
/// is called unknown. A failover takes less.
pub const OPERATION_DEADLINE: Duration = Duration::from_secs(5);
/// Operations handed to a group's proposer and not taken yet; above, `overloaded`.
pub const SUBMISSIONS_MAX: usize = 8192;
/// Bytes of the operations of one group that wait for a batch, in its queue or the proposer's;
/// above, `overloaded`. Their number alone would allow gigabytes of the largest events.
pub const SUBMISSION_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Operations a proposer holds before it stops taking more.
pub const PROPOSER_QUEUE_MAX: usize = 8192;
/// Operations of one batch.
pub const BATCH_OPS_MAX: usize = 512;
/// Bytes of one batch's operations; a single larger operation makes a batch of its own.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of one operation; above, `too_large`. Room for the largest event that can be configured,
/// with its names: a batch that no log takes would be sent again for ever.
pub const OPERATION_BYTES_MAX: usize = 6 * 1024 * 1024;
/// Batches of one group that this node has in flight; while they are, the next one collects.
pub const BATCHES_IN_FLIGHT_MAX: usize = 2;
/// Proposals waiting in a stream to a leader; above, one is not sent now but again later. More than
/// [`BATCHES_IN_FLIGHT_MAX`], so that only a leader that takes nothing in fills it.
pub const PROPOSE_STREAM_MAX: usize = 16;
/// Entries whose effects the fan-out has not taken yet; above, apply waits.
pub const EFFECTS_MAX: usize = 1024;
/// Events outside the log waiting for a group's fan-out; above, they are dropped and counted.
pub const FANOUT_ASKS_MAX: usize = 1024;
/// Events outside the log and answers waiting for one peer; above, they are dropped.
pub const RELAY_QUEUE_MAX: usize = 1024;
/// Largest message between nodes: an entry and its envelope.
pub const PEER_MESSAGE_BYTES_MAX: usize = 9 * 1024 * 1024;
/// How long a read waits until this node has applied what its caller has seen elsewhere; then it is
/// refused as `unavailable`. A node that lags by more is of no use to the caller.
pub const READ_WAIT_DEADLINE: Duration = Duration::from_secs(2);
/// Positions of one page of a replay.
pub const REPLAY_PAGE_EVENTS: usize = 256;
/// Entries of the log that one replay holds at once. Each may be a whole batch, however little of
/// it the socket is owed, and all clients of a dead node replay at the same time.
pub const REPLAY_READ_ENTRIES: usize = 8;
/// Largest node id: 13 bits. The number of a broadcast with acknowledgements is an ack id on the
/// wire, names the node that asked, and has to stay below 2^53, where JavaScript's integers end.
pub const NODE_ID_MAX: u64 = (1 << 13) - 1;
/// Answers held for a socket that is catching up or has operations under way, and questions to its
/// client; above, its transport is closed and it resumes.
pub const SOCKET_ANSWERS_HELD_MAX: usize = 4096;
/// Bytes of those; same policy. One that is larger is held when nothing else is.
pub const SOCKET_ANSWERS_HELD_BYTES_MAX: usize = 1024 * 1024;
/// Events of the log held for a socket whose replay is about to end, so that its end stands still;
/// above, they are dropped and the log brings them too. A second of a fast log is enough for the
/// last pages of any replay.
pub const SOCKET_JOINING_EVENTS_MAX: usize = 1024;
/// Bytes of those events; same policy. One that is larger is held when nothing else is.
pub const SOCKET_JOINING_BYTES_MAX: usize = 512 * 1024;
/// Transient events held for a socket that catches up; above, they are dropped and counted.
pub const SOCKET_TRANSIENTS_HELD_MAX: usize = 64;
/// Bytes of those events; same policy. One that is larger by itself is never held.
pub const SOCKET_TRANSIENTS_HELD_BYTES_MAX: usize = 64 * 1024;
/// Events that one client has not answered yet; above, the oldest counts as unanswered.
pub const SOCKET_REQUESTS_MAX: usize = 1024;
/// Ping intervals after which a client that keeps up has surely answered for an event: one until
/// the PING behind it, one until the next when more was written meanwhile, one for the PONG. What
/// lags more is listed by itself when the log is told what all clients of a node have.
pub const ACKNOWLEDGE_BEHIND_PERIODS: usize = 3;
/// Bytes of a node's commands after which the state of each group is written as a snapshot, however
/// few they are: half of what the groups retain, but no less than this. Bounds the log that no
/// retained event needs.
pub const SNAPSHOT_EVERY_BYTES_MIN: u64 = 32 * 1024 * 1024;
/// The most of them, per group.
pub const SNAPSHOT_EVERY_BYTES: u64 = 256 * 1024 * 1024;
/// The same on a disk that is nearly full, so that a small one comes free of what only Raft keeps.
pub const SNAPSHOT_LOW_SPACE_BYTES: u64 = 4 * 1024 * 1024;
/// Slowest rate at which a node may be told to send snapshots and history, in bytes per second:
/// below, the largest entry would take longer than its receiver waits.
pub const TRANSFER_BYTES_PER_SECOND_MIN: u64 = 1024 * 1024;
/// Entries that are looked for at other nodes in one step of a backfill.
pub const BACKFILL_STEP_ENTRIES: usize = 64 * 1024;
/// Bytes of log entries kept in memory, over all groups.
pub const LOG_CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of one file of the log, preallocated; space comes back by files. A larger entry gets a
/// file of its own.
pub const LOG_SEGMENT_BYTES: u32 = 32 * 1024 * 1024;

// --- Socket.IO and its handlers
// --------------------------------------------------------------------

/// Namespaces of one connection; above, the connection is closed.
pub const NAMESPACES_PER_SESSION_MAX: usize = 64;
/// Bytes of a namespace's name; a packet with a longer one is malformed.
pub const NAMESPACE_NAME_BYTES_MAX: usize = 256;
/// Overrides of retention by namespace: more are refused where they are configured, and not taken
/// over from what is proposed. Part of the replicated format.
pub const RETENTION_OVERRIDES_MAX: usize = 64;
/// Events waiting for a socket's handler; above, reading from the client stops.
pub const SOCKET_EVENTS_QUEUED_MAX: usize = 256;
/// Bytes of those events; same policy. Their number alone would allow a quarter of a gigabyte for
/// one client.
pub const SOCKET_EVENT_BYTES_QUEUED_MAX: usize = 4 * 1024 * 1024;
/// Bytes of an identity that a client claims in development mode.
pub const IDENTITY_BYTES_MAX: usize = 256;
/// Bytes of a durable subscriber's name; a connect with a longer one is refused. Part of the format
/// of the replicated state.
pub const SUBSCRIBER_NAME_BYTES_MAX: usize = 256;
/// Bytes of the JSON that member lists show of a socket.
pub const MEMBER_DATA_BYTES_MAX: usize = 4096;
/// Members of one page.
pub const MEMBERS_PAGE_MAX: usize = 1000;
/// Bytes of one answer that is a page, beyond its first item. A page that did not fit the outbox
/// beside what waits there would close the transport of a client that keeps up.
pub const PAGE_BYTES_MAX: usize = 256 * 1024;
/// Events of one page of history.
pub const HISTORY_PAGE_MAX: usize = 500;
/// Events read from the log at once for a page of history.
pub const HISTORY_READ_EVENTS: usize = 32;
/// Expired sessions that wait for this node's expiry handler; above, one is dropped and counted. As
/// many as the sessions of a full node.
pub const EXPIRIES_QUEUED_MAX: usize = 100_000;
/// Expiry handlers at work on this node; above, the next one waits.
pub const EXPIRIES_RUNNING_MAX: usize = 64;
/// Followers of namespaces on this node; above, one more is refused as `overloaded`.
pub const FOLLOWERS_MAX: usize = 256;
/// Rooms that one follower may name; with more it is `invalid`.
pub const FOLLOW_ROOMS_MAX: usize = 100;
/// Events, and records of what became of sockets, that a follower holds at once.
pub const FOLLOW_PAGE_MAX: usize = 256;
/// Rooms whose membership this node follows for clients; above, `presence` is `overloaded`. Each is
/// looked at once in an interval.
pub const PRESENCE_ROOMS_MAX: usize = 1024;
/// Rooms whose membership one socket may be told; above, `presence` is `overloaded`.
pub const PRESENCE_ROOMS_PER_SOCKET_MAX: usize = 32;
/// Requests that wait for a room's next diff; above, `presence` is `overloaded`.
pub const PRESENCE_REQUESTS_MAX: usize = 4096;
/// How long changes of a room are gathered before its members are told.
pub const PRESENCE_INTERVAL: Duration = Duration::from_millis(100);
/// Members that one diff names; with more, it says that the list must be read anew.
pub const PRESENCE_DIFF_MAX: usize = 500;
/// How long a client that may follow the rooms that it is in waits for joins that are under way.
pub const PRESENCE_JOIN_DEADLINE: Duration = Duration::from_secs(2);
/// How often a follower is told at least how far it has come, also when nothing concerns it.
pub const FOLLOW_MARK_EVERY: Duration = Duration::from_secs(3);
/// Handlers at work on this node for events of the application on other nodes; above, such an event
/// is dropped, and its answer missed.
pub const SERVER_EVENTS_RUNNING_MAX: usize = 1024;
/// Bytes of an event of the application for the application on other nodes; larger is `TooLarge`.
pub const SERVER_EVENT_BYTES_MAX: usize = 1024 * 1024;
/// How long a server's question waits for the answers of clients by default; who is silent then is
/// named.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// How long a backend that is busy or gone is tried to be told of a socket's end; nobody waits.
pub const BACKEND_END_DEADLINE: Duration = Duration::from_secs(300);
/// Webhooks under way on this node; above, the next waits, and its socket with it.
pub const WEBHOOKS_RUNNING_MAX: usize = 256;
/// Bytes of an application's answer to a webhook; a larger one counts as a failed attempt.
pub const WEBHOOK_ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Time a connection to an application is kept without a request.
pub const WEBHOOK_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a disconnect is tried to be delivered; nobody waits for it.
pub const WEBHOOK_NOTICE_DEADLINE: Duration = Duration::from_secs(300);
/// Disconnects that wait for their delivery; above, one is dropped, and counted.
pub const WEBHOOK_NOTICES_MAX: usize = 10_000;
/// Longest time for which a program may let a server's question wait: below the time that an answer
/// of the API port has.
pub const ANSWER_WAIT_MAX: Duration = Duration::from_secs(50);
/// Rooms and excepts that an operation of a program may name; above, it is refused. What apply
/// takes, so that the refusal says which list.
pub const TARGET_NAMES_MAX: usize = 1000;
/// Publishes of one batch of a program; above, the batch is refused.
pub const PUBLISH_BATCH_MAX: usize = 1000;
/// Bytes of an idempotency key that a program gives; above, its publish is refused. What apply
/// takes, so that the refusal says why.
pub const KEY_BYTES_MAX: usize = 256;
/// Bytes of one request of a program, as HTTP's JSON or as a gRPC message; above, `too_large`. The
/// largest event that can be configured fits with its attachments in base64 and its names.
pub const API_REQUEST_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Requests of programs at work on this node, streams apart; above, `overloaded`. Each may hold a
/// largest request and wait for the log.
pub const API_REQUESTS_MAX: usize = 1024;
/// Sockets or rooms of one page for a program.
pub const SOCKETS_PAGE_MAX: usize = 1000;
/// Bytes of a `publish` beside its event: its name, target, key.
pub const PACKET_OVERHEAD_BYTES_MAX: usize = 16 * 1024;
/// How long a draining node waits for its last operations to reach the log.
pub const SETTLE_DEADLINE: Duration = Duration::from_secs(2);

const _: () = assert!(
    2 * PAGE_BYTES_MAX <= OUTBOX_BYTES_MAX,
    "a page must fit an outbox that is half full"
);

// --- Programs outside, on the API port
// -------------------------------------------------------------

/// How often a connection over HTTP/2 is asked whether its other end is there.
pub const API_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long it may take to say so; then the connection and its streams are ended.
pub const API_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest message of a backend, and to one; a larger one ends its stream. Fits a peer's message.
pub const BACKEND_MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Backends whose streams end at one node; one more is refused.
pub const BACKENDS_MAX: usize = 64;
/// Bytes of a backend's name, and of the name of an event that it asks for; longer is refused.
pub const BACKEND_NAME_BYTES_MAX: usize = 256;
/// Namespaces and patterns of one backend; more are refused.
pub const BACKEND_REGISTRATIONS_MAX: usize = 64;
/// Names of events of one of them; more are refused.
pub const BACKEND_EVENTS_MAX: usize = 256;
/// Namespaces and patterns that were served once and are remembered, so that their clients wait for
/// a backend instead of being told that there is no such namespace; the oldest are forgotten.
pub const BACKEND_PATTERNS_REMEMBERED_MAX: usize = 4096;
/// How long after a node's start in production a namespace that it does not know may still get its
/// backend; then its clients are told that there is no such namespace. `backend-wait` if longer.
pub const BACKEND_START_GRACE: Duration = Duration::from_secs(30);
/// Calls of one backend that may be open at once by default: enough to keep a program busy that
/// answers within milliseconds. Above, a call waits for its place.
pub const BACKEND_WINDOW: u32 = 256;
/// The same, whatever a backend asks for.
pub const BACKEND_WINDOW_MAX: u32 = 4096;
/// How long a call waits for its place; then it is `overloaded`. Holds back its own socket only.
pub const BACKEND_WINDOW_DEADLINE: Duration = Duration::from_secs(5);
/// Messages that wait for a backend's stream, or for the way to one at another node; above, the
/// sender waits.
pub const BACKEND_QUEUE_MAX: usize = 64;
/// Messages of a backend that wait within one call; above, its stream is not read on.
pub const BACKEND_CALL_QUEUE_MAX: usize = 16;
/// Operations of one backend at one node whose outcome it waits for; above, its stream is not read
/// on: a backend that does not read its own outcomes holds up itself. A question to clients is
/// `overloaded` then.
pub const BACKEND_OPERATIONS_MAX: usize = 1024;
/// How long a backend has for its Hello; then its stream ends.
pub const BACKEND_HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// How long a Welcome waits for the other nodes to know of the backend. One that is away learns it
/// when it is back.
pub const BACKEND_ANNOUNCE_DEADLINE: Duration = Duration::from_secs(2);
/// How long another node may take to open the way to a backend; then it is tried again, or another
/// backend is asked.
pub const BACKEND_REACH_DEADLINE: Duration = Duration::from_secs(3);
/// Pause before a call that found its backend gone looks for another one.
pub const BACKEND_RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Pause before another node's list of backends is followed again.
pub const BACKEND_FOLLOW_PAUSE: Duration = Duration::from_millis(200);
/// How often a node looks for members whose backends it does not follow yet.
pub const BACKEND_MEMBERS_EVERY: Duration = Duration::from_secs(1);
/// How long a draining node waits for the open calls of its backends; then their streams end.
pub const BACKEND_DRAIN_DEADLINE: Duration = Duration::from_secs(5);
/// Sockets that are bound anew at the same time after a backend has gone.
pub const BACKEND_REBINDS_MAX: usize = 64;

const _: () = assert!(
    BACKEND_MESSAGE_BYTES_MAX + 64 * 1024 <= PEER_MESSAGE_BYTES_MAX,
    "a backend's message must fit a message between nodes"
);
const _: () = assert!(
    OPERATION_BYTES_MAX < BACKEND_MESSAGE_BYTES_MAX,
    "the largest event must fit a message to a backend"
);
