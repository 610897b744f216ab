//! The one socket that publishes: at a pace, as fast as the room receives, or as fast as publishes
//! are acknowledged.

use std::io;
use std::time::{Duration, Instant};

use tokio::time::{Instant as TokioInstant, MissedTickBehavior, interval, sleep_until, timeout_at};

use super::room::{Place, ROOM, Tally};
use super::socket::LeanSocket;

/// Bytes of text in each event.
const BODY_BYTES: usize = 128;
/// What is in flight at the end has this long to be acknowledged.
const SETTLE: Duration = Duration::from_secs(5);

/// What limits the sending.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// This many a second, whatever the room does.
    PerSecond(u32),
    /// The room's places: an event holds one until all sockets have received it.
    Places,
    /// At most this many that are not acknowledged.
    Outstanding(u64),
}

/// A connected publisher.
#[derive(Debug)]
pub struct Speaker {
    socket: LeanSocket,
    room: String,
    body: String,
    seq: u64,
    acked: u64,
    refused: u64,
}

/// What a period of speaking came to.
#[derive(Debug, Clone, Copy)]
pub struct Spoken {
    /// Acknowledged within the period.
    pub acked: u64,
    /// Answered by anything but ok.
    pub refused: u64,
    /// How long it was.
    pub elapsed: Duration,
}

impl Speaker {
    /// Publishes to the common room.
    #[must_use]
    pub fn new(socket: LeanSocket) -> Self {
        Self::to_room(socket, ROOM)
    }

    /// Publishes to a room.
    #[must_use]
    pub fn to_room(socket: LeanSocket, room: &str) -> Self {
        let body = "x".repeat(BODY_BYTES);
        Self {
            socket,
            room: room.to_owned(),
            body,
            seq: 0,
            acked: 0,
            refused: 0,
        }
    }

    /// The same, with so many bytes of text in each event.
    #[must_use]
    pub fn with_body(mut self, bytes: usize) -> Self {
        self.body = "x".repeat(bytes);
        self
    }

    /// Publishes for a while.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn speak(
        &mut self,
        pace: Pace,
        tally: &Tally,
        period: Duration,
    ) -> io::Result<Spoken> {
        let (started, acked, refused) = (Instant::now(), self.acked, self.refused);
        let end = TokioInstant::now() + period;
        let mut ticks = interval(match pace {
            Pace::PerSecond(count) => Duration::from_secs(1) / count,
            _ => period.max(Duration::from_secs(1)),
        });
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        loop {
            let in_flight = self.seq - self.acked - self.refused;
            let (paced, by_places) = (
                matches!(pace, Pace::PerSecond(_)),
                matches!(pace, Pace::Places),
            );
            let free = matches!(pace, Pace::Outstanding(most) if in_flight < most);
            let place = tokio::select! {
                biased;
                () = sleep_until(end) => break,
                read = self.read() => {
                    read?;
                    continue;
                }
                _ = ticks.tick(), if paced => Place::None,
                place = tally.places.acquire(), if by_places => {
                    place.map_err(io::Error::other)?.forget();
                    Place::Held
                }
                () = std::future::ready(()), if free => Place::None,
            };
            self.publish(tally, place).await?;
        }
        let spoken = Spoken {
            acked: self.acked - acked,
            refused: self.refused - refused,
            elapsed: started.elapsed(),
        };
        self.settle().await?;
        Ok(spoken)
    }

    async fn publish(&mut self, tally: &Tally, place: Place) -> io::Result<()> {
        let seq = self.seq;
        self.seq += 1;
        tally.sent(seq, place);
        let text = format!(
            "42{seq}[\"publish\",\"{}\",\"m\",{seq},\"{}\"]",
            self.room, self.body
        );
        self.socket.send(text.as_bytes()).await
    }

    async fn read(&mut self) -> io::Result<()> {
        let (acked, refused) = (&mut self.acked, &mut self.refused);
        self.socket
            .read(|payload| note(acked, refused, payload))
            .await
    }

    /// Waits for the acknowledgements of what is in flight.
    async fn settle(&mut self) -> io::Result<()> {
        let end = TokioInstant::now() + SETTLE;
        while self.acked + self.refused < self.seq {
            match timeout_at(end, self.read()).await {
                Ok(read) => read?,
                Err(_) => return Err(io::Error::other("publishes are not acknowledged")),
            }
        }
        Ok(())
    }
}

/// Acknowledgements look like `43<id>[{"ok":true,...}]`.
fn note(acked: &mut u64, refused: &mut u64, payload: &[u8]) {
    if !payload.starts_with(b"43") {
        return;
    }
    match payload
        .windows(9)
        .take(40)
        .any(|bytes| bytes == b"\"ok\":true")
    {
        true => *acked += 1,
        false => *refused += 1,
    }
}
