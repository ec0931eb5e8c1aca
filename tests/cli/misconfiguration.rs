//! What waiting cannot mend is refused, and nothing is locked elsewhere.

use rstest::rstest;

use crate::harness::{Command, RedisServer};

#[rstest]
#[case::a_relative_folder("local:locks", "local:/PATH")]
#[case::no_folder("local:", "local:/PATH")]
#[case::a_folder_in_none("local:/no/such/folder", "/no/such")]
#[case::a_file("local:/etc/passwd", "/etc/passwd")]
#[case::a_file_system_of_the_kernel("local:/proc/self", "/proc/")]
#[tokio::test]
async fn a_local_store_that_cannot_be_is_refused_and_the_command_does_not_run(
    #[case] cache: &str,
    #[case] words: &str,
) {
    let ran = Command::new(&["exec", "job", "--", "echo", "ran"]).env("LOCKER_CACHE", cache).run().await;
    assert!(ran.code == Some(78) && ran.stdout.is_empty() && ran.stderr.contains(words), "{ran:?}");
}

#[tokio::test]
async fn a_prefix_is_refused_for_a_local_store() {
    let folder = tempfile::tempdir().unwrap();
    let cache = format!("local:{}", folder.path().display());
    let ran = Command::new(&["--prefix", "app:", "status", "job"]).env("LOCKER_CACHE", &cache).run().await;
    assert!(ran.code == Some(78) && ran.stderr.contains("a folder of their own"), "{ran:?}");
}

#[rstest]
#[tokio::test]
async fn an_empty_variable_counts_as_unset(
    #[values("LOCKER_CA", "LOCKER_CERT", "LOCKER_KEY", "LOCKER_TIMEOUT", "LOCKER_TOKEN")] name: &str,
) {
    let ran = Command::new(&["status", "job"]).env(name, "").run().await;
    assert_eq!((ran.code, ran.line()), (Some(1), "free"));
}

#[rstest]
#[case::a_misspelt_option("?wait_replicas=1", "\"wait_replicas\" is not known")]
#[case::a_database_as_an_option("?db=2", "redis://HOST/2")]
#[case::a_password_as_an_option("?password=p", "redis://USER:PASSWORD@HOST")]
#[case::a_fragment("#secure", "'#'")]
#[case::certificates_that_are_not_checked("#insecure", "--ca FILE")]
#[case::a_database_that_is_not_there("/99", "does not have this database")]
#[tokio::test]
async fn a_url_that_cannot_be_meant_is_refused_at_once(#[case] rest: &str, #[case] words: &str) {
    let server = RedisServer::start().await;
    for arguments in [&["status", "job"][..], &["lock", "job"], &["exec", "job", "--wait", "1min", "--", "true"]] {
        let ran = Command::new(arguments).env("LOCKER_CACHE", &(server.url() + rest)).run().await;
        assert!(ran.code == Some(78) && ran.stderr.contains(words), "{ran:?}");
    }
    assert_eq!(server.keys().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_cluster_has_one_database_and_a_server_is_no_cluster() {
    let server = RedisServer::start().await;
    let url = server.url().replace("redis:", "redis+cluster:");
    for (url, words) in [(url.clone() + "/3", "database 0 only"), (url, "is not a cluster")] {
        let ran = Command::new(&["status", "job"]).env("LOCKER_CACHE", &url).run().await;
        assert!(ran.code == Some(78) && ran.stderr.contains(words), "{ran:?}");
    }
}

#[tokio::test]
async fn durations_without_a_unit_are_seconds() {
    let server = RedisServer::start().await;
    for (ttl, milliseconds) in [("60", 60_000), ("90.5", 90_500), (".5", 500), ("1min", 60_000)] {
        assert_eq!(Command::on(&server, &["lock", ttl, "--ttl", ttl]).run().await.code, Some(0));
        let left: u64 = server.run(&["PTTL", &format!("lock:{ttl}")]).await;
        assert!(left <= milliseconds && left + 450 > milliseconds, "{ttl}: {left}");
    }
}

#[rstest]
#[case::two_gibibytes(2 << 30)]
#[case::half_a_gibibyte(512 << 20)]
#[tokio::test]
async fn a_process_with_few_addresses_takes_a_lock(#[case] addresses: u64) {
    let limited = format!("ulimit -v {} && exec \"$0\" lock job", addresses >> 10);
    let locker = Command::path("locker");
    let ran = Command::of("/bin/sh".into(), &["-c", &limited, locker.to_str().unwrap()]).run().await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[tokio::test]
async fn a_process_that_may_not_make_memory_executable_names_the_line_of_its_unit() {
    const PR_SET_MDWE: &str = "import ctypes, os, sys; ctypes.CDLL(None).prctl(65, ctypes.c_ulong(1), 0, 0, 0); \
        os.execv(sys.argv[1], ['locker', 'status', 'job'])";
    let locker = Command::path("locker");
    let ran = Command::of("/usr/bin/env".into(), &["python3", "-c", PR_SET_MDWE, locker.to_str().unwrap()]).run().await;
    assert!(ran.code == Some(70) && ran.stderr.contains("MemoryDenyWriteExecute=no"), "{ran:?}");
}

#[rstest]
#[case::that_does_not_exist("no/such/home")]
#[case::that_is_relative("home")]
#[case::that_is_empty("")]
#[tokio::test]
async fn a_home_that_is_none_is_not_made(#[case] home: &str) {
    let folder = tempfile::tempdir().unwrap();
    let home = if home.contains('/') { folder.path().join(home).display().to_string() } else { home.to_owned() };
    let command = Command::new(&["status", "job"]).env_remove("XDG_CACHE_HOME").env("HOME", &home);
    let ran = command.current_dir(folder.path()).run().await;
    assert_eq!((ran.code, std::fs::read_dir(folder.path()).unwrap().count()), (Some(1), 0), "{ran:?}");
}

#[tokio::test]
async fn the_memory_of_a_plugin_is_limited_in_bytes_or_multiples() {
    for (size, code) in [("64M", 127), ("1G", 127), ("65536", 127), ("64Q", 64), ("99999999999G", 64)] {
        let limit = format!("max-memory-size={size}");
        assert_eq!(Command::new(&["run", "-W", &limit, "none.wasm"]).run().await.code, Some(code), "{size}");
    }
}

#[tokio::test]
async fn a_command_without_two_dashes_before_it_is_refused_with_a_hint() {
    const HINT: &str = "locker exec NAME -- COMMAND";
    for words in [&["exec", "job", "sleep", "1"][..], &["-q", "exec", "job", "--wait", "1", "sleep", "1"]] {
        let ran = Command::new(words).run().await;
        assert!(ran.code == Some(64) && ran.stderr.contains(HINT), "{ran:?}");
    }
    for words in
        [&["exec", "job", "--bogus", "--", "true"][..], &["lock", "exec", "--bogus"], &["lock", "exec", "more"]]
    {
        let ran = Command::new(words).run().await;
        assert!(ran.code == Some(64) && !ran.stderr.contains(HINT), "{ran:?}");
    }
}
