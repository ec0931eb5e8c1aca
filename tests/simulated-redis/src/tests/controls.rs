//! Faults of one server.

use redis::Value;

use super::{SECOND, error, eval, run, server, text};
use crate::{Condition, Persistence, Server, Version};

#[test]
fn a_key_expires_when_the_clock_passes_its_end() {
    let (mut server, client) = server();
    run(&mut server, client, "SET a 1 PX 1000").unwrap();
    server.set_clock(server.clock() + SECOND);
    assert_eq!(run(&mut server, client, "PTTL a").unwrap(), Value::Int(0));
    server.set_clock(server.clock() + 1000);
    assert_eq!(run(&mut server, client, "PTTL a").unwrap(), Value::Int(-2));
}

#[test]
fn a_clock_that_is_set_back_lengthens_a_key_that_was_not_asked_for() {
    let (mut server, client) = server();
    run(&mut server, client, "SET a 1 PX 1000").unwrap();
    server.set_clock(server.clock() + 5 * SECOND);
    server.set_clock(server.clock() - 6 * SECOND);
    assert_eq!(run(&mut server, client, "PTTL a").unwrap(), Value::Int(2000));
}

#[test]
fn a_full_server_lets_a_script_finish_that_has_written() {
    let (mut server, client) = server();
    server.set_memory_full(true);
    let code = "redis.call('DEL', 'a') redis.call('SET', 'a', '1') return redis.call('GET', 'a')";
    assert_eq!(eval(&mut server, client, code, &[]).unwrap(), text("1"));
    let refused = error(eval(&mut server, client, "redis.call('SET', 'a', '1')", &[]));
    assert!(refused.starts_with("OOM command not allowed"), "{refused}");
}

#[test]
fn a_server_says_why_it_refuses_a_command() {
    let (mut server, client) = server();
    for (condition, command, code) in [
        (Condition::Loading, "GET a", "LOADING "),
        (Condition::Busy, "GET a", "BUSY "),
        (Condition::Stale, "GET a", "MASTERDOWN "),
        (Condition::Unsaved, "SET a 1", "MISCONF "),
        (Condition::NoReplicas, "SET a 1", "NOREPLICAS "),
    ] {
        server.set_condition(condition);
        let refused = error(run(&mut server, client, command));
        assert!(refused.starts_with(code), "{refused}");
    }
}

#[test]
fn a_stale_replica_refuses_a_script_when_it_reads() {
    let (mut server, client) = server();
    server.set_condition(Condition::Stale);
    assert!(eval(&mut server, client, "return redis.call('TIME')", &[]).is_ok());
    assert!(error(eval(&mut server, client, "return redis.call('GET', 'a')", &[])).starts_with("MASTERDOWN "));
}

#[test]
fn a_killed_server_forgets_scripts_and_connections_and_perhaps_its_data() {
    let (mut server, client) = server();
    run(&mut server, client, "SET a 1").unwrap();
    let run_id = server.run_id().to_owned();
    server.kill(Persistence::Everything);
    assert_ne!(server.run_id(), run_id);
    assert!(run(&mut server, client, "GET a").unwrap_err().is_io_error());
    assert_eq!(server.keys(), [b"a"]);
    server.kill(Persistence::Nothing);
    assert!(server.keys().is_empty());
}

#[test]
fn a_seed_determines_the_run_ids_of_a_server() {
    let [mut one, mut same, mut other] = [7, 7, 8].map(|seed| Server::new(Version::Valkey9, seed));
    [&mut one, &mut same, &mut other].into_iter().for_each(|server| server.kill(Persistence::Nothing));
    assert_eq!(one.run_id(), same.run_id());
    assert_ne!(one.run_id(), other.run_id());
}

#[test]
fn a_user_can_do_only_what_its_rules_permit() {
    let (mut server, client) = server();
    server.set_user("weak", &["on", ">secret", "~a*", "+get"]).unwrap();
    run(&mut server, client, "AUTH weak secret").unwrap();
    assert_eq!(run(&mut server, client, "GET a").unwrap(), Value::Nil);
    assert_eq!(error(run(&mut server, client, "GET b")), "NOPERM No permissions to access a key");
    let refused = error(run(&mut server, client, "SET a 1"));
    assert_eq!(refused, "NOPERM User weak has no permissions to run the 'set' command");
}

#[test]
fn a_scan_finds_each_key_that_stays() {
    let (mut server, client) = server();
    (0..50).for_each(|key| _ = run(&mut server, client, &format!("SET key{key} 1")).unwrap());
    let (mut cursor, mut found) = (String::from("0"), 0);
    loop {
        let Value::Array(reply) = run(&mut server, client, &format!("SCAN {cursor} COUNT 7")).unwrap() else {
            panic!()
        };
        let [Value::BulkString(next), Value::Array(keys)] = &reply[..] else { panic!("{reply:?}") };
        (cursor, found) = (String::from_utf8(next.clone()).unwrap(), found + keys.len());
        if cursor == "0" {
            return assert_eq!(found, 50);
        }
    }
}
