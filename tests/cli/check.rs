//! `locker check`: what it shows, and how it exits.

use std::fs::Permissions;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown};

use rstest::rstest;
use serde_json::{Value, json};

use super::terminal::terminal;
use crate::harness::{Command, RedisServer};

#[tokio::test]
async fn warnings_exit_with_0_and_each_has_its_remedy_on_the_next_line() {
    let server = RedisServer::start().await;
    let ran = Command::on(&server, &["check"]).run().await;
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(
        (ran.code, lines[0], &ran.stderr[..]),
        (Some(0), &server.url().replace("redis://", "Redis at ")[..], "")
    );
    assert!(lines[1].starts_with("  ok       connection       answers"), "{ran:?}");
    let warning = lines.iter().position(|line| line.starts_with("  warning  persistence ")).unwrap();
    assert!(lines[warning + 1].trim_start().starts_with("remedy: set appendonly yes"), "{ran:?}");
}

#[tokio::test]
async fn quiet_shows_only_what_is_not_ok() {
    let keeps = ["--appendonly", "yes", "--appendfsync", "always"].map(str::to_owned);
    let (server, healthy) = (RedisServer::start().await, RedisServer::start_with(|_| keeps.to_vec()).await);
    let ran = Command::on(&server, &["check", "--quiet"]).run().await;
    assert!(ran.stdout.contains("persistence") && !ran.stdout.contains("  ok  "), "{ran:?}");
    let ran = Command::on(&healthy, &["check", "--quiet"]).run().await;
    assert_eq!((ran.code, &ran.stdout[..], &ran.stderr[..]), (Some(0), "", ""));
}

#[tokio::test]
async fn json_is_one_document_with_all_findings() {
    let server = RedisServer::start().await;
    let ran = Command::on(&server, &["check", "--json"]).run().await;
    let (document, store) = (ran.json(), server.url().replace("redis://", "Redis at "));
    assert_eq!(document["outcome"], "warning");
    let findings = document["findings"].as_array().unwrap();
    let of = |subject: &str| findings.iter().find(|finding| finding["subject"] == subject).unwrap();
    let role = json!({ "store": store, "subject": "role", "status": "ok", "found": "is a primary", "remedy": null });
    assert_eq!(of("role"), &role);
    assert!(of("persistence")["remedy"].is_string() && of("hand-off")["status"] == "ok", "{document}");
}

#[rstest]
#[case::that_is_down("redis://u:secret@127.0.0.1:1", "connection", "Connection refused")]
#[case::that_is_none("http://secret", "configuration", "locker --help")]
#[case::with_an_unknown_option("redis://a?secret=1", "configuration", "is not known")]
#[case::without_a_majority("redis://127.0.0.1:1,redis://127.0.0.1:2,redis://127.0.0.1:3", "members", "0 of 3")]
#[case::with_a_relative_folder("local:locks", "configuration", "write local:/PATH")]
#[case::on_another_file_system("local:/proc/tty", "configuration", "use a folder on a disk of this machine")]
#[tokio::test]
async fn a_store_exits_with_78(#[case] cache: &str, #[case] subject: &str, #[case] words: &str) {
    for more in [&[][..], &["--json"]] {
        let ran = Command::new(&[&["check"], more].concat()).env("LOCKER_CACHE", cache).run().await;
        assert!(ran.code == Some(78) && ran.stdout.contains(subject) && ran.stdout.contains(words), "{ran:?}");
        assert!(!ran.stdout.contains("u:secret"), "{ran:?}");
    }
}

#[tokio::test]
async fn a_local_store_shows_where_it_is_and_for_whom() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    let cache = format!("local:{}", folder.path().display());
    let ran = Command::new(&["check", "--json"]).env("LOCKER_CACHE", &cache).run().await;
    let document = ran.json();
    let found = |subject: &str| {
        let finding = document["findings"].as_array().unwrap().iter().find(|finding| finding["subject"] == subject);
        finding.unwrap_or_else(|| panic!("{document} has no {subject}"))["found"].as_str().unwrap().to_owned()
    };
    assert_eq!((ran.code, &document["outcome"]), (Some(0), &Value::from("ok")));
    assert_eq!(found("location"), "belongs to user 0, with mode 0700: for its owner alone");
    assert!(found("boot").contains("existed before") && found("free space").ends_with("MiB"));
    assert!(found("hand-off").starts_with("takes") && !found("file system").is_empty());
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o2770)).unwrap();
    let ran = Command::new(&["check"]).env("LOCKER_CACHE", &cache).run().await;
    assert!(ran.stdout.contains("with mode 2770: for its owner and group 0"), "{ran:?}");
}

#[tokio::test]
async fn a_local_store_of_another_user_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    chown(folder.path(), Some(6432), None).unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let cache = format!("local:{}", folder.path().display());
    let ran = Command::new(&["check"]).env("LOCKER_CACHE", &cache).run().await;
    assert!(ran.code == Some(78) && ran.stdout.contains("remedy: remove it, or use another location"), "{ran:?}");
}

#[tokio::test]
async fn memory_is_said_to_end_with_its_process() {
    let ran = Command::new(&["check"]).run().await;
    assert!(ran.code == Some(0) && ran.stdout.contains("  warning  scope "), "{ran:?}");
}

#[tokio::test]
async fn colours_are_for_terminals_that_want_them() {
    for (no_colour, coloured) in [("", true), ("1", false)] {
        let (mut terminal, line) = terminal();
        let mut command = Command::new(&["check"]).env("NO_COLOR", no_colour).into_std();
        let mut child = command.stdout(line).spawn().unwrap();
        // It holds the terminal open.
        drop(command);
        let mut seen = Vec::new();
        // When the other end is closed, that is an error.
        _ = terminal.read_to_end(&mut seen);
        child.wait().unwrap();
        let seen = String::from_utf8(seen).unwrap();
        assert!(seen.contains("warning") && seen.contains("\x1b[33m") == coloured, "{seen}");
    }
    assert!(!Command::new(&["check"]).run().await.stdout.contains('\x1b'));
}
