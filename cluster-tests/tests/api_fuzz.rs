//! The HTTP API, fuzzed from the document that a node serves: no request makes a server error, and
//! every answer is as the document says.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use roomcast_cluster_tests::cluster::{Cluster, ClusterSpec};
use tokio::process::Command;
use tokio::time::timeout;

/// Requests for each operation by default; `make api-fuzz` asks for more.
const EXAMPLES: &str = "15";
/// The same in every run.
const SEED: &str = "20261127";
/// Longest run.
const WITHIN: Duration = Duration::from_secs(1_200);
#[tokio::test]
async fn the_api_keeps_to_its_document_whatever_it_is_asked() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let program = root.join(".tools/api-venv/bin/schemathesis");
    assert!(
        program.exists(),
        "{} is missing: make interop",
        program.display()
    );
    let cluster = Cluster::start(&ClusterSpec::new(1)).await.unwrap();
    let examples = std::env::var("API_FUZZ_EXAMPLES").unwrap_or_else(|_| EXAMPLES.to_owned());
    let document = format!("http://{}/v1/openapi.json", cluster.addrs[0].api);
    let config = root.join("cluster-tests/interop/api/schemathesis.toml");
    let run = Command::new(&program)
        .arg("--config-file")
        .arg(config)
        .args(["run", &document, "--seed", SEED])
        .args([
            "--max-examples",
            &examples,
            "--phases",
            "examples,coverage,fuzzing",
        ])
        // The one ends the node that is asked, the other never ends.
        .args([
            "--exclude-path",
            "/v1/drain",
            "--exclude-path",
            "/v1/follow",
        ])
        .args(["--generation-database", "none", "--no-color"])
        .current_dir(cluster.folder())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    let output = timeout(WITHIN, run)
        .await
        .expect("it takes too long")
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "seed {SEED}\n{said}\n{complaints}");
    let status = cluster.status(0).await.expect("the node is alive");
    assert_eq!(status.node_id, 1);
}
