//! The one socket that publishes: at a pace, as fast as the room receives, or as fast as publishes
//! are acknowledged.

use std::io;
use std::time::{Duration, Instant};

use tokio::time::{Instant as TokioInstant, MissedTickBehavior, interval, sleep_until};

use super::room::{ROOM, Tally};
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
            let free = self.seq - self.acked - self.refused;
            tokio::select! {
                biased;
                () = sleep_until(end) => break,
                read = self.socket.read(|text| note(&mut self.acked, &mut self.refused, text)) => {
                    read?;
                }
                _ = ticks.tick(), if matches!(pace, Pace::PerSecond(_)) => {
                    self.publish(tally).await?;
                }
                place = tally.places.acquire(), if matches!(pace, Pace::Places) => {
                    place.map_err(io::Error::other)?.forget();
                    self.publish(tally).await?;
                }
                () = std::future::ready(()),
                    if matches!(pace, Pace::Outstanding(most) if free < most) => {
                    self.publish(tally).await?;
                }
            }
        }
        let spoken = Spoken {
            acked: self.acked - acked,
            refused: self.refused - refused,
            elapsed: started.elapsed(),
        };
        self.settle().await?;
        Ok(spoken)
    }

    async fn publish(&mut self, tally: &Tally) -> io::Result<()> {
        let seq = self.seq;
        self.seq += 1;
        tally.sent(seq);
        let text = format!(
            "42{seq}[\"publish\",\"{}\",\"m\",{seq},\"{}\"]",
            self.room, self.body
        );
        self.socket.send(text.as_bytes()).await
    }

    /// Waits for the acknowledgements of what is in flight.
    async fn settle(&mut self) -> io::Result<()> {
        let end = TokioInstant::now() + SETTLE;
        while self.acked + self.refused < self.seq {
            tokio::select! {
                biased;
                () = sleep_until(end) => {
                    return Err(io::Error::other("publishes are not acknowledged"));
                }
                read = self.socket.read(|text| note(&mut self.acked, &mut self.refused, text)) => {
                    read?;
                }
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
