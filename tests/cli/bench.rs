//! Measuring, from the shell.

use crate::harness::{Command, RedisServer, until};

#[tokio::test]
async fn a_measurement_tells_both_sides_of_each_row_and_leaves_only_fences() {
    let (server, folder) = (RedisServer::start().await, tempfile::tempdir().unwrap());
    let chart = folder.path().join("chart.svg");
    let arguments = ["--json", "bench", "--for", "300ms", "--clients", "4", "--waiters", "2", "--svg"];
    let ran = Command::on(&server, &[&arguments[..], &[chart.to_str().unwrap()]].concat()).run().await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let rows = ran.json()["rows"].as_array().unwrap().clone();
    assert_eq!(rows.len(), 3);
    assert!(
        rows.iter().all(|row| row["native"].as_f64() > Some(0.0) && row["locker"].as_f64() > Some(0.0)),
        "{rows:?}"
    );
    assert!(std::fs::read_to_string(&chart).unwrap().ends_with("</svg>\n"));
    // What waiters left expires.
    until(async || server.keys().await.iter().all(|key| key.contains("fence"))).await;
}

#[tokio::test]
async fn only_a_server_can_be_measured() {
    let ran = Command::new(&["bench"]).run().await;
    assert!(ran.code == Some(64) && ran.stderr.contains("--cache redis://"), "{ran:?}");
}
