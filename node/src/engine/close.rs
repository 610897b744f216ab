//! Why a session ends, and what each side is told about it: the only place that knows the WebSocket
//! close codes and the words of Socket.IO's server-side `disconnect` event.

/// Why an Engine.IO session ended. The first reason given wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client closed: an Engine.IO `1` packet or a WebSocket close frame.
    ClientClosed,
    /// The connection ended without a goodbye.
    TransportClosed,
    /// Reading or writing the connection failed.
    TransportError,
    /// No PONG within the ping timeout.
    PingTimeout,
    /// The client broke a protocol: WebSocket or Engine.IO.
    ParseError,
    /// The client broke the protocol that its messages carry: a malformed packet, or one that has
    /// no business there. (The reference calls both a "forced close".)
    Violation,
    /// A text message of the client was not UTF-8, for which WebSocket has a code of its own.
    NotUtf8,
    /// A message was larger than `maxPayload`.
    TooLarge,
    /// No namespace was joined within the connect timeout.
    ConnectTimeout,
    /// The application closed the connection (`disconnect(true)`).
    ServerClosed,
    /// The node is shutting down; the session can resume elsewhere.
    Draining,
    /// The client did not keep up with what it is owed; it resumes from the log.
    SlowConsumer,
    /// A newer socket owns the session, or this node was detached from it.
    Fenced,
    /// The node cannot reach a majority; clients should go where it is.
    NoQuorum,
    /// The node is out of some resource.
    Overloaded,
    /// The client's token ran out.
    TokenExpired,
    /// The session goes on at another node; its client notices nothing.
    Moved,
}

impl CloseReason {
    /// Every reason, for tables of counters.
    pub const ALL: [Self; 17] = [
        Self::ClientClosed,
        Self::TransportClosed,
        Self::TransportError,
        Self::PingTimeout,
        Self::ParseError,
        Self::Violation,
        Self::NotUtf8,
        Self::TooLarge,
        Self::ConnectTimeout,
        Self::ServerClosed,
        Self::Draining,
        Self::SlowConsumer,
        Self::Fenced,
        Self::NoQuorum,
        Self::Overloaded,
        Self::TokenExpired,
        Self::Moved,
    ];

    /// The WebSocket close code and word. Codes from 4000 are ours (design, section 6); a stock
    /// client reconnects after every one of them.
    #[must_use]
    pub const fn websocket(self) -> (u16, &'static str) {
        match self {
            Self::ClientClosed | Self::ServerClosed => (1000, ""),
            Self::TransportClosed | Self::TransportError | Self::Moved => (1001, "going away"),
            Self::PingTimeout => (1001, "ping timeout"),
            Self::ParseError => (1002, "parse error"),
            Self::Violation => (1002, "protocol violation"),
            Self::NotUtf8 => (1007, "not utf-8"),
            Self::TooLarge => (1009, "message too large"),
            Self::ConnectTimeout => (1000, "connect timeout"),
            Self::Draining => (4001, "draining"),
            Self::SlowConsumer => (4002, "slow consumer"),
            Self::Fenced => (4003, "fenced"),
            Self::NoQuorum => (4004, "no quorum"),
            Self::Overloaded => (4005, "overloaded"),
            Self::TokenExpired => (4006, "token expired"),
        }
    }

    /// The reason handed to Socket.IO disconnect handlers, in the words of the reference server.
    #[must_use]
    pub const fn disconnect_reason(self) -> &'static str {
        match self {
            Self::ClientClosed | Self::TransportClosed => "transport close",
            Self::TransportError => "transport error",
            Self::PingTimeout => "ping timeout",
            Self::ParseError | Self::NotUtf8 => "parse error",
            Self::Violation => "forced close",
            Self::TooLarge => "transport error",
            Self::Draining => "server shutting down",
            Self::Moved => "transport moved",
            Self::ConnectTimeout
            | Self::ServerClosed
            | Self::SlowConsumer
            | Self::Fenced
            | Self::NoQuorum
            | Self::Overloaded
            | Self::TokenExpired => "forced server close",
        }
    }

    /// A word for logs and metric labels.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::TransportClosed => "transport_closed",
            Self::TransportError => "transport_error",
            Self::PingTimeout => "ping_timeout",
            Self::ParseError => "parse_error",
            Self::Violation => "violation",
            Self::NotUtf8 => "not_utf8",
            Self::TooLarge => "too_large",
            Self::ConnectTimeout => "connect_timeout",
            Self::ServerClosed => "server_closed",
            Self::Draining => "draining",
            Self::SlowConsumer => "slow_consumer",
            Self::Fenced => "fenced",
            Self::NoQuorum => "no_quorum",
            Self::Overloaded => "overloaded",
            Self::TokenExpired => "token_expired",
            Self::Moved => "moved",
        }
    }

    /// Whether what already waits in the outbox is still written. Not for a peer that is gone, left
    /// or does not read: it would only delay the end.
    #[must_use]
    pub(crate) const fn flushes(self) -> bool {
        !matches!(
            self,
            Self::ClientClosed
                | Self::TransportClosed
                | Self::TransportError
                | Self::PingTimeout
                | Self::SlowConsumer
                | Self::Moved
        )
    }

    /// Whether the peer can still be told: a broken connection cannot carry a close frame.
    #[must_use]
    pub(crate) const fn says_goodbye(self) -> bool {
        !matches!(
            self,
            Self::TransportClosed | Self::TransportError | Self::Moved
        )
    }

    /// Place in [`CloseReason::ALL`].
    #[must_use]
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_words_and_indexes_are_the_documented_ones() {
        for (i, reason) in CloseReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), i);
            assert!(
                reason.websocket().1.len() <= 123,
                "a close frame holds 125 bytes"
            );
        }
        assert_eq!(CloseReason::Draining.websocket(), (4001, "draining"));
        assert_eq!(
            CloseReason::TokenExpired.websocket(),
            (4006, "token expired")
        );
        assert_eq!(CloseReason::TooLarge.websocket().0, 1009);
        assert_eq!(
            CloseReason::Draining.disconnect_reason(),
            "server shutting down"
        );
    }
}
