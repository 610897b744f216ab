//! Every bound of this crate by name, with its unit, its reason and the policy at the limit. A
//! bound that an operator may change is a `Config` field; what stands here is its default.

use std::time::Duration;

/// Bytes of frames that may wait for one client (1 MiB). At the limit a push is refused and the
/// caller decides: a live socket is closed and resumes, a volatile frame is dropped. A single frame
/// larger than this is still taken when nothing else waits, else it could never be delivered.
pub const OUTBOX_BYTES_MAX: usize = 1024 * 1024;
/// Frames that may wait for one client; same policy. Bounds the per-frame overhead of tiny frames.
pub const OUTBOX_FRAMES_MAX: usize = 4096;
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
/// Time a session may live without joining a namespace (reference `connectTimeout`: 45 s).
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(45);
/// Time a closing session may use to write what waits and its close frame; then TCP is cut.
pub const CLOSE_FLUSH_DEADLINE: Duration = Duration::from_secs(1);
/// Time a closed session waits for the client's end of stream: closing a connection with unread
/// bytes makes the kernel send a reset, which can destroy the close frame on its way.
pub const CLOSE_LINGER_DEADLINE: Duration = Duration::from_secs(1);
/// Bytes read and discarded during that wait.
pub const CLOSE_LINGER_BYTES_MAX: usize = 256 * 1024;

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
const _: () = assert!(READ_CHUNK_BYTES >= 14, "a frame header must fit a chunk");
