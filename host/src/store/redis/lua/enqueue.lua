-- Enters the queue, or confirms an entry; or takes the lock if it is free and no live waiter is ahead.
-- KEYS: lock, fence counter, queue, grace, withdrawn mark, and the client's key for a report.
-- ARGV: use-by, ms to keep the mark or 0, value, time to live in ms or 0 to watch, queue entry, ticket or 0 (1 to watch a free lock, too), ms until the queue expires, ms until the client's
-- key does, the client's channel.
-- Returns the time, and `stored`, fence, ms left; or `queued`, ticket, whether it was added, and after a report the ms left or -1, how
-- many are ahead, whether the client is subscribed here, and the value under the key; or `free` to an entry that only watches; or `withdrawn`; or `late`.
local lock, counter, queue, grace, withdrawn, client = unpack(KEYS)
local keep_mark, value, ttl, entry, ticket, keep, keep_client, channel = unpack(ARGV, 2)
local watches, now = ttl == '0', clock()
-- One that watches a free lock is told before all others, and hands it to no one: two of them would wake each other for ever.
local watches_free = watches and ticket == '1'
if now > tonumber(ARGV[1]) then
  return {now, 'late'}
end

local present, is_withdrawn = unpack(redis.call('MGET', lock, withdrawn))
if present and holds(present, value) then
  redis.call('ZREM', queue, entry)
  local _, fence = parse(present)
  return final(withdrawn, keep_mark, {now, 'stored', tonumber(fence), redis.call('PTTL', lock)})
elseif is_withdrawn then
  return {now, 'withdrawn'}
elseif not present and not watches_free then
  -- What is not a string is nil here, too.
  read(lock)
  if redis.call('EXISTS', queue) == 0 or (watches and not serve(lock, counter, queue, grace, now)) then
    return watches and {now, 'free'} or final(withdrawn, keep_mark, grant(lock, counter, now, value, ttl))
  end
end

permit('ZADD', queue, 'NX', '0', entry)
permit('PEXPIRE', queue, keep)
permit('PUBLISH', channel, '')
local subscribed = client and redis.call('PUBSUB', 'NUMSUB', channel)[2]
if client and subscribed > 0 then
  -- A report that arrives before its client subscribed here again says nothing of this server.
  redis.call('SET', client, run_id(), 'PX', keep_client)
end
if ticket == '0' then
  ticket = string.format('%.0f', now)
end
local added = redis.call('ZADD', queue, 'NX', ticket, entry)
redis.call('PEXPIRE', queue, keep)
if added == 0 then
  -- The entry has the ticket of the first request.
  ticket = redis.call('ZSCORE', queue, entry)
end
if not present and not watches then
  local next = serve(lock, counter, queue, grace, now, value)
  if not next then
    redis.call('ZREM', queue, entry)
    return final(withdrawn, keep_mark, grant(lock, counter, now, value, ttl))
  elseif next[1] == value and next[2] > 0 then
    return final(withdrawn, keep_mark, {now, 'stored', next[2], next[3]})
  end
end
if not client then
  return {now, 'queued', tonumber(ticket), added}
end
local ahead = redis.call('ZRANK', queue, entry) or 0
local holder = parse(present or read(lock) or '')
return {now, 'queued', tonumber(ticket), added, redis.call('PTTL', lock), ahead, subscribed, holder}
