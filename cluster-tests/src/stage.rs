//! What most tests share: a cluster, the official client's process, an oracle, subscribers in their
//! seats and publishers on every node, and the verdict at the end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use crate::client::{Client, Tap};
use crate::cluster::{Cluster, ClusterSpec};
use crate::link::Route;
use crate::oracle::lifecycle::{Lifecycle, LifecycleReport};
use crate::oracle::{Oracle, Report};
use crate::publisher::{PublishSpec, Publisher};
use crate::raw::{RawClient, RawSpec};
use crate::seat::{Make, Seat, SeatSpec};
use crate::stock::StockDriver;

/// What is on its way at the end must arrive within this.
const CALM_WITHIN: Duration = Duration::from_secs(25);
/// Publishes that show which group's log grows: far more than ticks in that time.
const PROBES: u64 = 30;
/// After everything has arrived, what comes too much has this long to show itself.
const EXTRA_CALM: Duration = Duration::from_millis(500);

/// A running stage for one namespace.
#[derive(Debug)]
pub struct Stage {
    /// The nodes.
    pub cluster: Cluster,
    /// The official client's process.
    pub driver: Arc<StockDriver>,
    /// The judge.
    pub oracle: Oracle,
    /// With its leading slash.
    pub namespace: String,
    /// Subscribers, in the order they were seated.
    pub seats: Vec<Seat>,
    /// Publishers, in the order they were started.
    pub publishers: Vec<Publisher>,
}

impl Stage {
    /// Starts the nodes and the client process.
    ///
    /// # Errors
    /// When one of them does not start.
    pub async fn open(spec: &ClusterSpec) -> io::Result<Self> {
        let driver = StockDriver::start()?;
        let cluster = Cluster::start(spec).await?;
        Ok(Self {
            cluster,
            driver,
            oracle: Oracle::new(),
            namespace: "/".to_owned(),
            seats: Vec::new(),
            publishers: Vec::new(),
        })
    }

    /// A cluster of three with the flags that most tests want: long enough for slow machines.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn three() -> io::Result<Self> {
        Self::open(&ClusterSpec::new(3)).await
    }

    /// The official client as a make.
    #[must_use]
    pub fn stock(&self) -> Make {
        Make::Stock(Arc::clone(&self.driver))
    }

    /// The official client over other transports than WebSocket alone.
    #[must_use]
    pub fn stock_over(&self, transports: &'static [&'static str]) -> Make {
        self.stock_with([("transports", json!(transports))])
    }

    /// The official client with other options than the driver's.
    #[must_use]
    pub fn stock_with<const N: usize>(&self, options: [(&str, Value); N]) -> Make {
        let options = options.map(|(name, value)| (name.to_owned(), value));
        Make::StockWith(Arc::clone(&self.driver), Map::from_iter(options))
    }

    /// Seats a client, at first on one node, in some rooms; its index.
    ///
    /// # Errors
    /// When its link cannot listen.
    pub async fn seat(&mut self, make: Make, node: usize, rooms: &[&str]) -> io::Result<usize> {
        self.seat_seen(make, node, rooms, None).await
    }

    /// As [`Stage::seat`], with somebody who sees all of the client's signals too.
    ///
    /// # Errors
    /// When its link cannot listen.
    pub async fn seat_seen(
        &mut self,
        make: Make,
        node: usize,
        rooms: &[&str],
        witness: Option<Tap>,
    ) -> io::Result<usize> {
        let kind = match &make {
            Make::Stock(driver) => driver.package().name().to_owned(),
            Make::StockWith(driver, options) => {
                let options = serde_json::to_string(options).unwrap_or_default();
                format!("{} with {options}", driver.package().name())
            }
            Make::Sdk => "sdk".to_owned(),
            Make::Raw => "raw".to_owned(),
        };
        let spec = SeatSpec {
            name: format!("{kind}, seat {}", self.seats.len()),
            make,
            namespace: self.namespace.clone(),
            rooms: rooms.iter().map(|room| (*room).to_owned()).collect(),
            auth: Map::new(),
            upstreams: self.cluster.clients(),
            route: Route::Only(node),
            witness,
        };
        self.seats.push(Seat::take(spec, &self.oracle).await?);
        Ok(self.seats.len() - 1)
    }

    /// Seats a stock client and one of ours on each node: the suite's own, or the SDK's.
    ///
    /// # Errors
    /// When a link cannot listen.
    pub async fn seat_everywhere(&mut self, rooms: &[&str]) -> io::Result<()> {
        for node in 0..self.cluster.nodes.len() {
            let stock = self.stock();
            self.seat(stock, node, rooms).await?;
            let own = if node == 1 { Make::Sdk } else { Make::Raw };
            self.seat(own, node, rooms).await?;
        }
        Ok(())
    }

    /// A raw client without a link that starts at one node and goes on to the others.
    #[must_use]
    pub fn raw(&self, node: usize) -> Client {
        let spec = RawSpec {
            endpoints: self.cluster.clients_from(node),
            namespace: self.namespace.clone(),
            auth: Map::<String, Value>::new(),
        };
        Client::Raw(RawClient::start(spec, Arc::new(|_| ())))
    }

    /// Starts a publisher on each node.
    pub fn publish_everywhere(&mut self, spec: &PublishSpec) {
        for node in 0..self.cluster.nodes.len() {
            let spec = PublishSpec {
                seed: spec.seed + node as u64,
                ..spec.clone()
            };
            self.publishers
                .push(Publisher::start(self.raw(node), &self.oracle, spec));
        }
    }

    /// Waits until `count` more publishes have been acknowledged.
    ///
    /// # Panics
    /// When they are not in time.
    pub async fn wait_acked(&self, count: usize, within: Duration) {
        let deadline = Instant::now() + within;
        let goal = self.oracle.acked_count() + count;
        while self.oracle.acked_count() < goal {
            assert!(
                Instant::now() < deadline,
                "publishes are not acknowledged: {}",
                self.oracle.audit()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Group that the namespace lives in, see [`group_of`].
    ///
    /// # Errors
    /// When no group's log grows.
    pub async fn group_of_namespace(&self) -> io::Result<u32> {
        group_of(&self.cluster, &self.raw(0)).await
    }

    /// Stops the publishers and waits until everything owed has arrived.
    pub async fn calm(&mut self) -> Report {
        for publisher in self.publishers.drain(..) {
            publisher.finish().await;
        }
        calm(&self.oracle).await
    }

    /// As [`Stage::calm`]; then prints the counts and demands that nothing is wrong, that no client
    /// gave up, and that no resume was refused to those that ask for one.
    ///
    /// # Panics
    /// When one of these is not so.
    pub async fn finish(mut self, title: &str) -> Report {
        let report = self.calm().await;
        if !report.is_clean() {
            for seat in &self.seats {
                let (count, node) = (
                    self.oracle.received_count(seat.number),
                    seat.link.upstream(),
                );
                println!(
                    "{}: {count} received, at {node:?}, {:?}",
                    seat.name,
                    seat.client.state()
                );
            }
        }
        for seat in &self.seats {
            let state = seat.client.state();
            assert_eq!(
                state.gave_up, None,
                "{title}: {} gave up: {state:?}",
                seat.name
            );
            assert!(
                state.fresh == 1 || !seat.resumes,
                "{title}: a resume of {} was refused: {state:?}",
                seat.name
            );
        }
        report.assert_clean(title);
        report
    }
}

/// Waits until everything owed has arrived, or it is late; the verdict.
pub async fn calm(oracle: &Oracle) -> Report {
    let deadline = Instant::now() + CALM_WITHIN;
    while oracle.audit().lost > 0 && Instant::now() < deadline {
        sleep(Duration::from_millis(200)).await;
    }
    sleep(EXTRA_CALM).await;
    oracle.audit()
}

/// Waits until everything that became of sessions has been told, or it is late; the verdict.
pub async fn lifecycle_calm(lifecycle: &Lifecycle, within: Duration) -> LifecycleReport {
    let deadline = Instant::now() + within;
    while lifecycle.audit().lost > 0 && Instant::now() < deadline {
        sleep(Duration::from_millis(200)).await;
    }
    sleep(EXTRA_CALM).await;
    lifecycle.audit()
}

/// Group that a client's namespace lives in: the one whose log grows while it publishes there. Must
/// be called while nothing else is published.
///
/// # Errors
/// When no group's log grows.
pub async fn group_of(cluster: &Cluster, client: &Client) -> io::Result<u32> {
    client
        .wait_for("connected", Duration::from_secs(10), |state| {
            state.connected
        })
        .await;
    let before = cluster.applied(0).await;
    for _ in 0..PROBES {
        let args = vec![Value::from("nobody"), Value::from("probe")];
        client
            .ask("publish", args, Duration::from_secs(6))
            .await
            .map_err(io::Error::other)?;
    }
    let after = cluster.applied(0).await;
    client.close().await;
    let growth = |(group, applied): (&u32, &u64)| {
        (
            applied.saturating_sub(before.get(group).copied().unwrap_or(0)),
            *group,
        )
    };
    let (grown, group) = after.iter().map(growth).max().unwrap_or_default();
    // Node 1 may still have to apply the last of them.
    if grown < PROBES / 2 {
        return Err(io::Error::other(format!(
            "no group's log grew: {before:?}, {after:?}"
        )));
    }
    Ok(group)
}
