//! What scripts see, and how they fail.

use super::{Step, runtime, words};
use crate::redis::fidelity::twin::Twin;

const SNIPPETS: [&str; 62] = [
    "return 1",
    "return redis.call('GET')",
    "return redis.call('NOPE')",
    "return redis.call('PUBSUB', 'nope')",
    "return redis.call('SUBSCRIBE', 'a')",
    "return redis.call('EVAL', 'return 1', 0)",
    "return redis.call()",
    "return redis.pcall()",
    "return redis.call(nil)",
    "return redis.call('GET', {})",
    "return redis.pcall('GET', true)",
    "return redis.call('GET', 1, 2)",
    "error('x')",
    "error('x', 0)",
    "error({err = 'x'})",
    "error({err = 'ABC x'})",
    "return x",
    "x = 1",
    "redis.call = 1",
    "x =",
    "return {1, 2.9, 'a', true, false, nil, 3}",
    "return {1, {2, {3}}, {}}",
    "return {err = 'ABC def'}",
    "return {{err = 'ABC def'}, {ok = 'fine'}, {err = 'abc'}}",
    "return redis.error_reply('abc')",
    "return redis.error_reply('ABC def')",
    "return redis.error_reply('-ABC def')",
    "return redis.error_reply(1)",
    "return redis.error_reply()",
    "return redis.status_reply('abc')",
    "return redis.status_reply('OK')",
    "return redis.acl_check_cmd()",
    "return redis.acl_check_cmd('NOPE')",
    "return redis.acl_check_cmd('GET', 'a')",
    "return redis.call('PUBSUB', 'NUMSUB', 'a')",
    "return redis.call('GET', 'list')",
    "return redis.pcall('GET', 'list')",
    "return redis.pcall('GET', 'list').err",
    "local ok, e = pcall(redis.call, 'GET', 'list') return {type(e), tostring(ok), e}",
    "local ok, e = pcall(redis.call, 'GET', 'list')\nerror(e)",
    "local ok, e = pcall(error, 'x') return e",
    "local ok, e = pcall(error, {err = 'x'}) return e",
    "return {pcall(function(a, b) return b, a end, 1, 2)}",
    "local function f()\n  return redis.call('GET', 'list')\nend\nf()",
    "return redis.call('SET', 'list', '1', 'GET')",
    "redis.call('SET', 'n', 0.1) return redis.call('GET', 'n')",
    "redis.call('SET', 'n', 1e20) return redis.call('GET', 'n')",
    "redis.call('SET', 'n', 1.7e15) return redis.call('GET', 'n')",
    "redis.call('SET', 'n', -0.000001) return redis.call('GET', 'n')",
    "redis.call('ZADD', 'z', 0.1, 'a', 1e15, 'b') return redis.call('ZRANGE', 'z', 0, -1, 'WITHSCORES')",
    "return redis.call('ZSCORE', 'z', 'a')",
    "return tostring(redis.call('PING').ok)",
    "return redis.call('SET', 'a', '1')",
    "return redis.sha1hex('')",
    "return string.rep()",
    "return nil + 1",
    "local function f() error('deep') end\nf()",
    "return 3.99",
    "return -3.99",
    "return 1e300",
    "return error",
    "return {double = 1.5}",
];

#[test]
fn scripts_see_and_say_the_same_on_both_servers() {
    let mut twin = runtime().block_on(Twin::start());
    twin.reset();
    let call = |command: &[&str]| Step::Call { client: 0, words: words(command) };
    twin.take(&call(&["RPUSH", "list", "1"])).unwrap();
    for snippet in SNIPPETS {
        twin.take(&call(&["EVAL", snippet, "0"])).unwrap_or_else(|why| panic!("{why}"));
    }
    for arguments in [&["1"][..], &["-1"], &["x"], &["2", "a", "b"], &["1", "a", "b"]] {
        let command = [&["EVAL", "return {KEYS[1], #KEYS, ARGV[1], #ARGV}"], arguments].concat();
        twin.take(&call(&command)).unwrap_or_else(|why| panic!("{why}"));
    }
}
