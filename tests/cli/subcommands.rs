//! The command line: what it prints, and how it exits.

use locker_host::LockOptions;
use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::harness::{Command, LONG, Ran, RedisServer, granted, send};

#[tokio::test]
async fn lock_prints_the_token_and_nothing_else() {
    let server = RedisServer::start().await;
    let locked = Command::on(&server, &["lock", "job", "--owner", "me"]).run().await;
    assert_eq!(locked.code, Some(0));
    assert!(
        locked.stderr.contains(r#"acquired "job", expires in 29s"#)
            || locked.stderr.contains(r#"acquired "job", expires in 30s"#)
    );
    let (stored, _) = server.stored("job").await.unwrap();
    assert_eq!(locked.line(), stored);
}

#[rstest]
#[case::from_an_argument(|server: &RedisServer, token: &str| Command::on(server, &["unlock", "job", token]))]
#[case::from_the_environment(|server: &RedisServer, token: &str| Command::on(server, &["unlock", "job"]).env("LOCKER_TOKEN", token))]
#[tokio::test]
async fn the_token_unlocks(#[case] unlock: impl Fn(&RedisServer, &str) -> Command) {
    let server = RedisServer::start().await;
    let locked = Command::on(&server, &["lock", "job"]).run().await;
    assert_eq!(unlock(&server, locked.line()).run().await.code, Some(0));
    assert_eq!(unlock(&server, locked.line()).run().await.code, Some(1), "it is absent now");
}

#[tokio::test]
async fn the_token_is_read_from_standard_input() {
    let server = RedisServer::start().await;
    let locked = Command::on(&server, &["lock", "job"]).run().await;
    let extend = Command::on(&server, &["extend", "job", "-", "--ttl", "5min"]);
    assert_eq!(extend.run_with_input(&locked.stdout).await.code, Some(0));
    let unlock = Command::on(&server, &["unlock", "job", "-"]);
    assert_eq!(unlock.run_with_input(&locked.stdout).await.code, Some(0));
}

#[tokio::test]
async fn a_held_lock_is_75_with_words() {
    let server = RedisServer::start().await;
    Command::on(&server, &["lock", "job", "--owner", "backup"]).run().await;
    let refused = Command::on(&server, &["lock", "job"]).run().await;
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(75), ""));
    assert!(refused.stderr.contains(r#""job" is held by "backup" for 2"#), "{refused:?}");
}

#[tokio::test]
async fn lock_waits_for_the_lock() {
    let server = RedisServer::start().await;
    Command::on(&server, &["lock", "job", "--ttl", "300ms"]).run().await;
    let waited = Command::on(&server, &["lock", "job", "--wait", "1min"]).run().await;
    assert_eq!(waited.code, Some(0));
}

#[tokio::test]
async fn a_wrong_token_is_1() {
    let server = RedisServer::start().await;
    Command::on(&server, &["lock", "job"]).run().await;
    let unlocked = Command::on(&server, &["unlock", "job", "wrong"]).run().await;
    assert_eq!(unlocked.code, Some(1));
    assert!(unlocked.stderr.contains("held by another token"), "{unlocked:?}");
    assert_eq!(Command::on(&server, &["extend", "job", "wrong", "--ttl", "1s"]).run().await.code, Some(1));
}

#[tokio::test]
async fn status_tells_who_holds_a_lock() {
    let server = RedisServer::start().await;
    let free = Command::on(&server, &["status", "job"]).run().await;
    assert_eq!((free.code, free.line()), (Some(1), "free"));
    Command::on(&server, &["lock", "job", "--owner", "me"]).run().await;
    let held = Command::on(&server, &["status", "job"]).run().await;
    assert_eq!(held.code, Some(0));
    assert!(held.stdout.starts_with(r#"held by "me" for 2"#), "{held:?}");
}

#[tokio::test]
async fn json_says_the_same_for_programs() {
    let server = RedisServer::start().await;
    let run = async |arguments: &[&str]| Command::on(&server, &[&["--json"], arguments].concat()).run().await.json();
    let locked = run(&["lock", "job", "--ttl", "1h", "--owner", "me"]).await;
    assert_eq!((&locked["outcome"], &locked["name"]), (&json!("granted"), &json!("job")));
    assert!(locked["fence"].is_u64() && locked["ttl_ms"].as_u64().unwrap() > 3_500_000);
    let token = locked["token"].as_str().unwrap();
    for asked in [run(&["lock", "job"]).await, run(&["status", "job"]).await] {
        assert_eq!(
            (&asked["outcome"], &asked["owner"], &asked["fence"]),
            (&json!("held"), &json!("me"), &locked["fence"])
        );
    }
    assert_eq!(run(&["extend", "job", token, "--ttl", "1min"]).await["outcome"], "extended");
    assert_eq!(run(&["unlock", "job", "wrong"]).await["outcome"], "held-by-other");
    assert_eq!(run(&["unlock", "job", token]).await, json!({ "outcome": "released", "name": "job" }));
    assert_eq!(run(&["unlock", "job", token]).await["outcome"], "absent");
    assert_eq!(run(&["status", "job"]).await, json!({ "outcome": "free", "name": "job" }));
    let error = run(&["lock", ""]).await;
    assert_eq!((&error["outcome"], &error["kind"]), (&json!("error"), &json!("invalid")));
}

#[tokio::test]
async fn list_shows_what_is_held_by_whom() {
    let server = RedisServer::start().await;
    assert_eq!(Command::on(&server, &["list"]).run().await.line(), "NAME  OWNER  FENCE  LEFT");
    Command::on(&server, &["lock", "b", "--owner", "me", "--ttl", "1h"]).run().await;
    let fence = Command::on(&server, &["--json", "lock", "a job"]).run().await.json()["fence"].clone();
    let list = Command::on(&server, &["list"]).run().await;
    let lines: Vec<_> = list.stdout.lines().collect();
    assert!(lines[1].starts_with(&format!(r#""a job"  -      {fence}  2"#)), "{list:?}");
    assert!(lines[2].starts_with(r#""b"      "me"   "#) && lines[2].contains("  59m"), "{list:?}");
    let json = Command::on(&server, &["--json", "list"]).run().await.json();
    assert_eq!((&json[0]["name"], &json[0]["fence"], &json[1]["owner"]), (&json!("a job"), &fence, &json!("me")));
}

#[tokio::test]
async fn status_follows_a_lock_until_it_is_interrupted() {
    let server = RedisServer::start().await;
    let locker = server.locker();
    let mut watching = Command::on(&server, &["--json", "status", "--watch", "job"]).spawn();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut told = async || {
        let line = lines.next_line().await.unwrap().unwrap();
        let told: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(told["time"].is_string());
        told["owner"].as_str().unwrap_or("nobody").to_owned()
    };
    assert_eq!(told().await, "nobody");
    for owner in ["a", "b"] {
        let lease = granted(locker.lock("job", LockOptions::from(LONG).owner(owner)).await);
        assert_eq!(told().await, owner);
        locker.unlock("job", lease.token).await.unwrap();
        assert_eq!(told().await, "nobody");
    }
    send(&watching, Signal::SIGINT);
    assert_eq!(Ran::of(watching).await.signal, Some(Signal::SIGINT));
}

#[tokio::test]
async fn quiet_says_only_what_went_wrong() {
    let server = RedisServer::start().await;
    assert_eq!(Command::on(&server, &["-q", "lock", "job"]).run().await.stderr, "");
    assert_eq!(Command::on(&server, &["-q", "lock", "job"]).run().await.stderr, "");
    assert_ne!(Command::on(&server, &["-q", "lock", ""]).run().await.stderr, "");
}

#[tokio::test]
async fn shells_and_man_can_be_taught() {
    for (shell, content) in [
        ("bash", "complete -F _locker"),
        ("zsh", "#compdef locker"),
        ("fish", "complete -c locker"),
        ("elvish", "on-lost"),
        ("powershell", "on-lost"),
    ] {
        let ran = Command::new(&["completions", shell]).run().await;
        assert!(ran.code == Some(0) && ran.stdout.contains(content), "{ran:?}");
    }
    assert!(Command::new(&["man"]).run().await.stdout.contains(".TH locker 1"));
    assert!(Command::new(&["man", "exec"]).run().await.stdout.contains(".TH locker-exec 1"));
    assert_eq!(Command::new(&["man", "steal"]).run().await.code, Some(64));
}

#[rstest]
#[case::no_command(&[])]
#[case::an_unknown_command(&["steal", "job"])]
#[case::no_name(&["lock"])]
#[case::an_empty_name(&["lock", ""])]
#[case::a_bad_name(&["status", "a\nb"])]
#[case::a_bad_duration(&["lock", "job", "--ttl", "soon"])]
#[case::no_time_at_all(&["lock", "job", "--ttl", "0s"])]
#[case::no_token(&["unlock", "job"])]
#[case::nothing_to_run(&["exec", "job"])]
#[tokio::test]
async fn wrong_usage_is_64(#[case] arguments: &[&str]) {
    let ran = Command::new(arguments).run().await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(64), ""), "{ran:?}");
    assert!(!ran.stderr.is_empty());
}

#[rstest]
#[case::no_url("bogus", &["lock", "job"])]
#[case::a_url_of_something_else("http://localhost", &["lock", "job"])]
#[case::a_prefix_that_splits_a_slot("redis://localhost", &["lock", "job", "--prefix", "{"])]
#[case::more_time_than_allowed("memory", &["lock", "job", "--ttl", "2days"])]
#[tokio::test]
async fn what_is_misconfigured_or_refused_is_78(#[case] cache: &str, #[case] arguments: &[&str]) {
    let ran = Command::new(arguments).env("LOCKER_CACHE", cache).run().await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(78), ""), "{ran:?}");
}

#[tokio::test]
async fn a_name_that_is_something_else_in_the_store_is_78() {
    let server = RedisServer::start().await;
    () = server.run(&["RPUSH", "lock:job", "not a lock"]).await;
    assert_eq!(Command::on(&server, &["lock", "job"]).run().await.code, Some(78));
}

#[tokio::test]
async fn a_cache_that_is_down_is_69() {
    let mut server = RedisServer::start().await;
    server.kill();
    for arguments in
        [&["lock", "job"][..], &["unlock", "job", "token"], &["status", "job"], &["exec", "job", "--", "true"]]
    {
        let ran = Command::on(&server, arguments).run().await;
        assert_eq!(ran.code, Some(69), "{ran:?}");
        assert!(ran.stderr.contains(r#"lock "job": Redis at 127.0.0.1:"#), "{ran:?}");
    }
}

#[tokio::test]
async fn a_password_shows_nowhere() {
    let server = RedisServer::start().await;
    let secret = "correct-horse";
    let url = server.url().replace("redis://", &format!("redis://user:{secret}@"));
    for url in [
        url.as_str(),
        &url.replace("127.0.0.1:", "127.0.0.1:x"),
        &url.replace("redis:", "rediss:"),
        &url.replace("redis:", "x:"),
    ] {
        for arguments in [&["lock", "job"][..], &["--json", "lock", "job"], &["--help"], &["steal"]] {
            let ran = Command::new(arguments).env("LOCKER_CACHE", url).run().await;
            assert!(!format!("{ran:?}").contains(secret), "{ran:?}");
        }
    }
}

#[tokio::test]
async fn a_token_that_nobody_can_read_leaves_no_lock() {
    let server = RedisServer::start().await;
    let mut command = Command::on(&server, &["lock", "job"]).into_std();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert!(!command.stdout(full).status().unwrap().success());
    assert_eq!(Command::on(&server, &["status", "job"]).run().await.line(), "free");
}

#[tokio::test]
async fn the_component_and_its_contract_can_be_had() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("locker.wasm");
    assert_eq!(Command::new(&["component", "-o", file.to_str().unwrap()]).run().await.code, Some(0));
    assert_eq!(std::fs::read(file).unwrap(), locker_host::COMPONENT);
    assert_eq!(Command::new(&["wit"]).run().await.stdout, locker_host::WIT);
}
