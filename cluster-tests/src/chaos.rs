//! Random trouble for a running cluster and its clients, from a seed: connections are cut, frozen
//! and made half-open, nodes are killed, paused and drained, and everything comes back.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;
use crate::link::Route;
use crate::seat::Seat;

/// A drained node of a busy cluster ends within this.
const DRAINED_WITHIN: Duration = Duration::from_secs(40);

/// One kind of trouble and how often it is chosen.
const TROUBLES: [(Trouble, u32); 10] = [
    (Trouble::Cut, 30),
    (Trouble::CloseByClient, 10),
    (Trouble::HalfOpen, 15),
    (Trouble::Freeze, 8),
    (Trouble::StayAway, 6),
    (Trouble::MoveRooms, 12),
    (Trouble::Kill, 10),
    (Trouble::Pause, 8),
    (Trouble::Drain, 4),
    (Trouble::LoseQuorum, 2),
];

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// Some connections end.
    Cut,
    /// Some clients close their transports.
    CloseByClient,
    /// Some clients lose connections that their nodes keep.
    HalfOpen,
    /// Some connections stand still for a while.
    Freeze,
    /// A client cannot connect for many seconds.
    StayAway,
    /// Some clients leave or join a room.
    MoveRooms,
    /// `kill -9` of a node, and a restart.
    Kill,
    /// SIGSTOP of a node, shorter or longer than a lease.
    Pause,
    /// SIGTERM of a node, and a restart.
    Drain,
    /// Two nodes die at once and come back after seconds.
    LoseQuorum,
}

/// The breaker: one trouble after the other, so that never more than it says is broken.
#[derive(Debug)]
pub struct Chaos {
    rng: StdRng,
    /// How often each happened.
    pub counts: BTreeMap<Trouble, u64>,
    /// Rooms that seats move between.
    rooms: Vec<String>,
    nodes: usize,
}

impl Chaos {
    /// A breaker that does the same for the same seed.
    #[must_use]
    pub fn new(seed: u64, nodes: usize, rooms: Vec<String>) -> Self {
        let rng = rand::SeedableRng::seed_from_u64(seed);
        Self {
            rng,
            counts: BTreeMap::new(),
            rooms,
            nodes,
        }
    }

    /// Makes trouble until `end`; then all nodes are up and ready.
    ///
    /// # Errors
    /// When a node cannot be started again or is not ready in time.
    pub async fn run(
        &mut self,
        cluster: &mut Cluster,
        seats: &[Seat],
        end: Instant,
    ) -> io::Result<()> {
        while Instant::now() < end {
            let trouble = self.choose();
            *self.counts.entry(trouble).or_default() += 1;
            self.make(trouble, cluster, seats).await?;
            sleep(Duration::from_millis(self.rng.random_range(200..1_500))).await;
        }
        for seat in seats {
            seat.link.route(Route::RoundRobin);
        }
        cluster.wait_all_ready().await
    }

    fn choose(&mut self) -> Trouble {
        TROUBLES
            .choose_weighted(&mut self.rng, |(_, weight)| *weight)
            .map_or(Trouble::Cut, |(trouble, _)| *trouble)
    }

    async fn make(
        &mut self,
        trouble: Trouble,
        cluster: &mut Cluster,
        seats: &[Seat],
    ) -> io::Result<()> {
        match trouble {
            Trouble::Kill | Trouble::Pause | Trouble::Drain | Trouble::LoseQuorum => {
                // A client of a node that goes down comes back over the others.
                for seat in seats {
                    seat.link.route(Route::RoundRobin);
                }
                match trouble {
                    Trouble::LoseQuorum => self.lose_quorum(cluster).await,
                    _ => self.break_node(trouble, cluster).await,
                }
            }
            Trouble::MoveRooms => {
                for seat in self.some(seats) {
                    self.move_room(seat).await;
                }
                Ok(())
            }
            _ => {
                self.break_connections(trouble, seats).await;
                Ok(())
            }
        }
    }

    fn some<'a>(&mut self, seats: &'a [Seat]) -> Vec<&'a Seat> {
        let count = self.rng.random_range(1..=seats.len().div_ceil(3));
        seats.choose_multiple(&mut self.rng, count).collect()
    }

    async fn break_connections(&mut self, trouble: Trouble, seats: &[Seat]) {
        let nodes = self.nodes;
        let seats = self.some(seats);
        for seat in &seats {
            seat.link.route(match self.rng.random_range(0..=nodes) {
                node if node < nodes => Route::Only(node),
                _ => Route::RoundRobin,
            });
            match trouble {
                Trouble::Cut => seat.link.cut(),
                Trouble::CloseByClient => seat.client.cut().await,
                Trouble::HalfOpen => seat.link.half_open(),
                Trouble::Freeze => seat.link.freeze(),
                _ => {
                    seat.link.route(Route::Nowhere);
                    seat.link.cut();
                }
            }
        }
        match trouble {
            Trouble::Freeze => {
                sleep(Duration::from_millis(self.rng.random_range(100..2_000))).await
            }
            Trouble::StayAway => {
                sleep(Duration::from_millis(self.rng.random_range(1_000..9_000))).await
            }
            _ => {}
        }
        for seat in &seats {
            seat.link.thaw();
            if trouble == Trouble::StayAway {
                seat.link.route(Route::RoundRobin);
            }
        }
    }

    async fn move_room(&mut self, seat: &Seat) {
        let Some(room) = self.rooms.choose(&mut self.rng).cloned() else {
            return;
        };
        // A lost answer is no fault: the oracle knows what is uncertain then.
        if seat.rooms().contains(&room) && seat.rooms().len() > 1 {
            let _certain = seat.leave(&room).await;
        } else {
            seat.join(&room).await;
        }
    }

    async fn break_node(&mut self, trouble: Trouble, cluster: &mut Cluster) -> io::Result<()> {
        let index = self.rng.random_range(0..cluster.nodes.len());
        match trouble {
            Trouble::Pause => {
                cluster.nodes[index].pause()?;
                sleep(Duration::from_millis(self.rng.random_range(300..9_000))).await;
                cluster.nodes[index].wake()?;
                return cluster.wait_ready(index).await;
            }
            Trouble::Drain => {
                cluster.nodes[index].terminate()?;
                if cluster.nodes[index]
                    .wait_exit(DRAINED_WITHIN)
                    .await?
                    .is_none()
                {
                    return Err(io::Error::other(format!(
                        "node {} does not drain",
                        index + 1
                    )));
                }
            }
            _ => cluster.nodes[index].kill9()?,
        }
        sleep(Duration::from_millis(self.rng.random_range(100..4_000))).await;
        cluster.restart(index).await
    }

    async fn lose_quorum(&mut self, cluster: &mut Cluster) -> io::Result<()> {
        let kept = self.rng.random_range(0..cluster.nodes.len());
        let lost: Vec<usize> = (0..cluster.nodes.len())
            .filter(|index| *index != kept)
            .collect();
        for index in &lost {
            cluster.nodes[*index].kill9()?;
        }
        sleep(Duration::from_millis(self.rng.random_range(500..4_000))).await;
        for index in &lost {
            cluster.nodes[*index].restart()?;
        }
        cluster.wait_all_ready().await
    }
}
