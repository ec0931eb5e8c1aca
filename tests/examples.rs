//! The examples do what they say.

use crate::harness::{Command, RedisServer, compose, key_of, rogue};

#[tokio::test]
async fn native_runs_on_memory_and_on_redis() {
    let server = RedisServer::start().await;
    for arguments in [&[][..], &[server.url().as_str()]] {
        let ran = Command::example("native", arguments).run().await;
        assert!(ran.code == Some(0) && ran.stdout.ends_with("\ndone\n"), "{ran:?}");
    }
    assert_eq!(server.keys().await, [key_of("fence", "nightly-report")]);
}

#[tokio::test]
async fn composed_needs_nothing_but_a_cache() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, compose(rogue())).unwrap();
    let ran = Command::example("composed", &[file.path().to_str().unwrap()]).run().await;
    assert!(ran.code == Some(0) && ran.stdout == "what?\nreleased 0 locks\n", "{ran:?}");
}

#[test]
fn the_page_about_plugins_shows_a_whole_host_of_at_most_thirty_lines() {
    let (page, example) = (include_str!("../docs/plugins.md"), include_str!("../host/examples/plugins.rs"));
    assert!(page.contains(example));
    assert!(example.lines().filter(|line| !line.is_empty() && !line.starts_with("//")).count() <= 30);
}
