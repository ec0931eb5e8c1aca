//! All variants that must be caught.

use super::variants::{Flaw, Variant};

/// Scripts that are broken in one line.
const SCRIPTS: &[Variant] = &[
    Variant::script(
        "any_value_holds",
        "return present == value or string.sub(present, 1, #value + 1) == value .. '\\31'",
        "return true",
    ),
    Variant::script(
        "releases_anything",
        "type(present) == 'string' and string.sub(present, 1, #value + 1) == value .. '\\31'",
        "type(present) == 'string' and present ~= ''",
    ),
    Variant::script(
        "release_forgets_waiters",
        "local next = serve(lock, counter, queue, grace, now, nil, head)",
        "local next = nil",
    ),
    Variant::script("release_keeps_the_lock", "if not next or next[2] == 0 then", "if false then"),
    Variant::script("release_deletes_the_next_holder", "if not next or next[2] == 0 then", "if true then"),
    Variant::script("fences_are_times", "if last and last >= now then", "if false then"),
    Variant::script("last_step_leaves_the_entry", "if entry then", "if false then"),
    Variant::script("hand_off_keeps_the_entry", "redis.call('ZREM', queue, head)\n  local fenced", "local fenced"),
    Variant::script(
        "serves_the_last",
        "'ZRANGE', queue, '0', '0', 'WITHSCORES'",
        "'ZRANGE', queue, '-1', '-1', 'WITHSCORES'",
    ),
    Variant::script(
        "attempts_overtake",
        "local next = serve(lock, counter, queue, grace_of(queue), now, value)",
        "local next = nil",
    ),
    Variant::script(
        "free_locks_skip_the_queue",
        "redis.call('EXISTS', KEYS[1], KEYS[3], KEYS[4]) == 0",
        "redis.call('EXISTS', KEYS[1], KEYS[4]) == 0",
    ),
    Variant::script(
        "free_locks_ignore_the_mark",
        "redis.call('EXISTS', KEYS[1], KEYS[3], KEYS[4]) == 0",
        "redis.call('EXISTS', KEYS[1], KEYS[3]) == 0",
    ),
    Variant::script(
        "set_ignores_the_mark",
        "if not present and redis.call('EXISTS', withdrawn) == 1 then",
        "if false then",
    ),
    Variant::script("enqueue_ignores_the_mark", "elseif is_withdrawn then", "elseif false then"),
    Variant::script("withdrawal_leaves_no_mark", "redis.call('SET', withdrawn, '1', 'PX', keep)", ""),
    Variant::script("repetition_leaves_no_mark", "if keep_mark ~= '0' then", "if false then"),
    Variant::script(
        "extends_anything",
        "if not holds(present, ARGV[2]) and not (replacement and holds(present, replacement)) then",
        "if false then",
    ),
    Variant::script("extends_nothing", "redis.call('PEXPIRE', KEYS[1], ARGV[3])", ""),
    Variant::script(
        "grants_expire_early",
        "redis.call('SET', KEYS[1], ARGV[3] .. '\\31' .. digits, 'PX', ARGV[4])",
        "redis.call('SET', KEYS[1], ARGV[3] .. '\\31' .. digits, 'PX', math.ceil(ARGV[4] / 2))",
    ),
    Variant::script(
        "hand_offs_expire_early",
        "redis.call('SET', lock, value .. '\\31' .. fence, 'PX', ttl)",
        "redis.call('SET', lock, value .. '\\31' .. fence, 'PX', math.ceil(ttl / 2))",
    ),
    Variant::script(
        "grants_never_expire",
        "redis.call('SET', KEYS[1], ARGV[3] .. '\\31' .. digits, 'PX', ARGV[4])",
        "redis.call('SET', KEYS[1], ARGV[3] .. '\\31' .. digits)",
    ),
    Variant::script(
        "confirmation_moves_to_the_end",
        "redis.call('ZADD', queue, 'NX', ticket, entry)",
        "redis.call('ZADD', queue, string.format('%.0f', now), entry)",
    ),
    Variant::script(
        "client_keys_never_expire",
        "redis.call('SET', client, run_id(), 'PX', keep_client)",
        "redis.call('SET', client, run_id())",
    ),
    Variant::script("withdrawal_leaves_the_entry", "else\n  redis.call('ZREM', queue, entry)\nend", "end"),
    Variant::script(
        "withdrawal_forgets_waiters",
        "release(lock, counter, queue, grace, now)\nelse",
        "redis.call('DEL', lock)\nelse",
    ),
    Variant::script(
        "repeated_sets_lengthen_leases",
        "answer = {now, 'stored', tonumber(fence), redis.call('PTTL', lock)}",
        "answer = {now, 'stored', tonumber(fence), tonumber(ttl)}",
    ),
    Variant::script(
        "confirmed_leases_are_longer",
        "{now, 'stored', tonumber(fence), redis.call('PTTL', lock)})",
        "{now, 'stored', tonumber(fence), tonumber(ttl)})",
    ),
    Variant::script(
        "hand_off_names_a_later_time",
        "name, value, next[2], now))",
        "name, value, next[2], now + 200000))",
    ),
    Variant::script(
        "releases_of_others_succeed",
        "    return {now, 'different'}\n  end\nend\nrelease",
        "    return {now, 'deleted'}\n  end\nend\nrelease",
    ),
    Variant::script(
        "hand_offs_are_not_told",
        "redis.call('PUBLISH', channel, string.format('%s\\31%s\\31%.0f\\31%.0f', name, value, next[2], now))",
        "",
    ),
    Variant::script(
        "subscribers_of_others_count",
        "local subscribed = redis.call('PUBSUB', 'NUMSUB', channel)[2] > 0",
        "local subscribed = true",
    ),
    Variant::script("reports_are_enough", "elseif (subscribed and reported_at) or", "elseif reported_at or"),
    Variant::script("use_by_is_ignored", "if now > tonumber(ARGV[1]) then", "if false then"),
    Variant::script("queues_never_expire", "redis.call('PEXPIRE', queue, keep)", ""),
    Variant::script("there_is_no_grace", "if reported_at == '' or reported_at == run_id() then", "if true then"),
    // No variant lets reports count before their client has subscribed: it does so a tenth of a second later, and no world has shown a difference.
    Variant::script(
        "clients_that_went_away_have_a_grace",
        "if reported_at == '' or reported_at == run_id() then",
        "if reported_at == '' then",
    ),
    Variant::script("no_waiter_is_live", "elseif (subscribed and reported_at) or", "elseif"),
];

/// Scripts that are broken where work is done for a period, and where watchers are told.
const ROLES: &[Variant] = &[
    Variant::script(
        "records_expire_early",
        "replacement .. '\\31' .. fence, 'PX', ARGV[3])",
        "replacement .. '\\31' .. fence, 'PX', math.ceil(ARGV[3] / 2))",
    ),
    Variant::script(
        "records_have_new_fences",
        "replacement .. '\\31' .. fence, 'PX', ARGV[3])",
        "replacement .. '\\31' .. string.format('%.0f', now), 'PX', ARGV[3])",
    ),
    Variant::script("records_are_not_stored", "if replacement then", "if false then"),
    Variant::script(
        "repeated_records_are_refused",
        "if not holds(present, ARGV[2]) and not (replacement and holds(present, replacement)) then",
        "if not holds(present, ARGV[2]) then",
    ),
    Variant::script(
        "records_replace_anything",
        "if not holds(present, ARGV[2]) and not (replacement and holds(present, replacement)) then",
        "if not replacement and not holds(present, ARGV[2]) then",
    ),
    Variant::script("watchers_are_not_told", "redis.call('PUBLISH', channel, name .. '\\31' .. value)", ""),
    Variant::script(
        "watchers_stay_in_queues",
        "redis.call('ZREM', queue, head)\n      redis.call('PUBLISH', channel, name .. '\\31' .. value)",
        "redis.call('PUBLISH', channel, name .. '\\31' .. value)",
    ),
    Variant::script("watchers_are_served", "if subscribed and ttl == '0' then", "if false then"),
    Variant::script(
        "free_locks_are_not_watched",
        "local watches_free = watches and ticket == '1'",
        "local watches_free = false",
    ),
    Variant::script("watchers_that_went_away_have_a_grace", "ttl ~= '0' and reported_at or ''", "reported_at or ''"),
];

/// Scripts of members of a quorum that are broken in one line.
const MEMBERS: &[Variant] = &[
    Variant::script(
        "withdraws_any_vote",
        "if tonumber(its_fence) >= tonumber(first) and tonumber(its_fence) <= tonumber(fence) then",
        "if true then",
    ),
    Variant::script(
        "votes_have_fences_of_the_member",
        "return store_with(lock, counter, now, value, ttl, fence, last)",
        "return store_with(lock, counter, now, value, ttl, string.format('%.0f', math.max(last + 1, now)), last)",
    ),
    Variant::script(
        "restores_with_a_fence_of_the_member",
        "return store_with(lock, counter, now, value, ttl, fence, last_fence(counter))",
        "return store_with(lock, counter, now, value, ttl, string.format('%.0f', now), last_fence(counter))",
    ),
    Variant::script("keeps_votes", "and counted <= tonumber(fence) then\n", "and false then\n"),
    Variant::script("accepts_any_ballot", "if last >= tonumber(fence) then", "if false then"),
    // Records that ignore the mark are found by one seed in ten thousand. tests/lock/revoke.rs has them, too.
    Variant::script("votes_ignore_the_mark", "elseif redis.call('EXISTS', withdrawn) == 1 then", "elseif false then"),
    Variant::script(
        "lets_late_votes_in",
        "raise(counter, fence, last)\nreturn {now, 'withdrawn'}",
        "return {now, 'withdrawn'}",
    ),
    Variant::script(
        "votes_replace_other_values",
        "if present and not holds(present, value) then\n  return occupied(lock, now, present)\nelseif present then",
        "if present and holds(present, value) then",
    ),
    Variant::script("keeps_the_first_ballot", "or its_fence >= tonumber(fence) then", "or true then"),
    Variant::script(
        "votes_expire_early",
        "redis.call('SET', lock, value .. '\\31' .. fence, 'PX', ttl)\n  return {now, 'stored'",
        "redis.call('SET', lock, value .. '\\31' .. fence, 'PX', math.ceil(ttl / 2))\n  return {now, 'stored'",
    ),
    Variant::script(
        "extensions_store",
        "return {now, 'absent'}\nend\nlocal replacement = ARGV[4]",
        "redis.call('SET', KEYS[1], ARGV[2] .. '\\31' .. string.format('%.0f', now), 'PX', ARGV[3])\n  return {now, 'extended', now}\nend\nlocal replacement = ARGV[4]",
    ),
];

/// Hosts that are broken in one order.
const HOSTS: &[Variant] = &[
    Variant::host("never_marks", Flaw::NeverMarks),
    Variant::host("subscribes_later", Flaw::SubscribesLater),
    Variant::host("pushes_to_others", Flaw::PushesToOthers),
    Variant::host("loses_pushes", Flaw::LosesPushes),
    Variant::host("withdraws_nothing", Flaw::WithdrawsNothing),
    Variant::host("releases_nothing", Flaw::ReleasesNothing),
    Variant::host("delays_extensions", Flaw::DelaysExtensions),
    Variant::host("never_unsubscribes", Flaw::NeverUnsubscribes),
    Variant::host("never_reports", Flaw::NeverReports),
    Variant::host("never_leaves_queues", Flaw::NeverLeavesQueues),
    Variant::host("confirms_at_once", Flaw::ConfirmsAtOnce),
    Variant::host("forgets_tickets", Flaw::ForgetsTickets),
    Variant::host("revokes_any_fence", Flaw::RevokesAnyFence),
    Variant::host("never_announces", Flaw::NeverAnnounces),
    Variant::host("announces_others", Flaw::AnnouncesOthers),
    Variant::host("never_listens", Flaw::NeverListens),
    Variant::host("leaders_give_up", Flaw::LeadersGiveUp),
];

/// All of them.
pub fn host_variants() -> impl Iterator<Item = &'static Variant> {
    SCRIPTS.iter().chain(ROLES).chain(MEMBERS).chain(HOSTS)
}
