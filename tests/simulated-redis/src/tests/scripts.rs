//! Scripts.

use redis::Value;

use super::{error, eval, run, server, text};
use crate::{Server, Version};

#[test]
fn a_script_sees_one_time_and_each_value_is_converted() {
    let (mut server, client) = server();
    let code = "return {1, 2.9, 'a', true, redis.call('TIME')[1], redis.status_reply('fine'), false, nil, 3}";
    let status = Value::SimpleString("fine".into());
    let expected = [Value::Int(1), Value::Int(2), text("a"), Value::Int(1), text("1000000"), status, Value::Nil];
    assert_eq!(eval(&mut server, client, code, &[]).unwrap(), Value::Array(expected.into()));
}

#[test]
fn a_script_that_fails_says_where() {
    let (mut server, client) = server();
    run(&mut server, client, "RPUSH list 1").unwrap();
    let failed = error(eval(&mut server, client, "local a\nreturn redis.call('GET', 'list')", &[]));
    assert!(
        failed.ends_with("of value script: 052b33e37d0fbff67172848e5b53a316cea7a8b0, on @user_script:2."),
        "{failed}"
    );
}

#[test]
fn a_script_cannot_leave_globals_behind() {
    let (mut server, client) = server();
    let failed = error(eval(&mut server, client, "x = 1", &[]));
    assert!(failed.starts_with("ERR user_script:1: Attempt to modify a readonly table script: "), "{failed}");
    let failed = error(eval(&mut server, client, "return x", &[]));
    assert!(failed.contains("Script attempted to access nonexistent global variable 'x'"), "{failed}");
}

#[test]
fn a_script_is_known_by_its_hash_until_scripts_are_flushed() {
    let (mut server, client) = server();
    let hash = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
    assert!(error(run(&mut server, client, &format!("EVALSHA {hash} 0"))).starts_with("NOSCRIPT "));
    eval(&mut server, client, "return 1", &[]).unwrap();
    assert_eq!(run(&mut server, client, &format!("EVALSHA {hash} 0")).unwrap(), Value::Int(1));
    server.flush_scripts();
    assert!(error(run(&mut server, client, &format!("EVALSHA {hash} 0"))).starts_with("NOSCRIPT "));
}

#[test]
fn a_script_can_check_permissions_on_newer_versions_only() {
    for (version, can) in [(Version::Redis6, Value::Nil), (Version::Redis7, Value::Int(1))] {
        let mut server = Server::new(version, 1);
        let client = server.connect();
        let code = "return redis.acl_check_cmd and redis.acl_check_cmd('GET', 'a')";
        assert_eq!(eval(&mut server, client, code, &[]).unwrap(), can);
    }
}
