//! Durable publishes from outside, over gRPC and HTTP, beside those of sockets in the same run.

use std::io;

use roomcast_cluster_tests::cluster::{Cluster, ClusterSpec};
use roomcast_cluster_tests::load::doors::{GrpcPublisher, HttpPublisher};
use roomcast_cluster_tests::load::publishers::{Publisher, Publishing, Rate, measure};
use roomcast_cluster_tests::load::socket::LeanSocket;

use crate::{Meter, Settings, Table, WARM_UP};

/// Events of one call, where it carries several.
const BATCH: usize = 100;

/// For each door and number of publishers: events acknowledged a second, and how long a call takes.
pub(crate) async fn doors(settings: &Settings, table: &mut Table) -> io::Result<()> {
    for nodes in [1, 3] {
        for count in [1, 64] {
            let spec = ClusterSpec::new(nodes);
            let cluster = Cluster::start(&spec).await?;
            let mut sockets = Vec::new();
            for number in 0..count {
                let addr = cluster.addrs[number % nodes].client;
                sockets.push(Publisher::new(LeanSocket::connect(addr).await?));
            }
            run(
                settings,
                &cluster,
                table,
                ("a socket each", count, 1),
                sockets,
            )
            .await?;
            let mut clients = Vec::new();
            for number in 0..count {
                clients.push(HttpPublisher::connect(cluster.addrs[number % nodes].api).await?);
            }
            run(settings, &cluster, table, ("HTTP", count, 1), clients).await?;
            for batch in [1, BATCH] {
                let mut shared = Vec::new();
                for addrs in &cluster.addrs {
                    shared.push(GrpcPublisher::connect(addrs.api, batch).await?);
                }
                let clients = (0..count).map(|number| shared[number % nodes].clone());
                let who = if batch == 1 {
                    "gRPC"
                } else {
                    "gRPC, 100 a call"
                };
                run(
                    settings,
                    &cluster,
                    table,
                    (who, count, batch),
                    clients.collect(),
                )
                .await?;
            }
        }
    }
    Ok(())
}

async fn run<P: Publishing>(
    settings: &Settings,
    cluster: &Cluster,
    table: &mut Table,
    (who, count, batch): (&str, usize, usize),
    publishers: Vec<P>,
) -> io::Result<()> {
    let nodes = cluster.nodes.len();
    let meter = Meter::start(cluster);
    let rate: Rate = measure(publishers, WARM_UP, settings.period).await?;
    let row = |what: &str| format!("{who}, {count} publisher(s): {what}");
    let events = rate.per_second * batch as f64;
    table.add(&row("acknowledged/s"), nodes, events);
    table.add(&row("p50 ms"), nodes, rate.p50_ms);
    table.add(&row("p99 ms"), nodes, rate.p99_ms);
    table.add(&row("foreign cores"), nodes, meter.foreign());
    Ok(())
}
