-- Enters the queue, or confirms an entry; or takes the lock if it is free and no live waiter is ahead.
-- KEYS: lock, fence counter, queue, grace, withdrawn mark, and the client's key for a report.
-- ARGV: use-by, value, time to live in ms or 0 to watch, queue entry, ticket or 0, ms until the queue expires, ms until the client's
-- key does, the client's channel.
-- Returns the time, and `stored`, fence, ms left; or `queued`, ticket, whether it was added, and after a report the ms left or -1, how
-- many are ahead, and whether the client is subscribed here; or `free` to an entry that only watches; or `withdrawn`; or `late`.
local lock, counter, queue, grace, withdrawn, client = unpack(KEYS)
local value, ttl, entry, ticket, keep, keep_client, channel = unpack(ARGV, 2)
local watches, now = ARGV[3] == '0', clock()
if now > tonumber(ARGV[1]) then
  return {now, 'late'}
end

local present, mark = unpack(redis.call('MGET', lock, withdrawn))
if mark then
  return {now, 'withdrawn'}
end
if not present then
  -- What is not a string is nil here, too.
  read(lock)
  if redis.call('EXISTS', queue) == 0 or (watches and not serve(lock, counter, queue, grace, now)) then
    return watches and {now, 'free'} or grant(lock, counter, now, value, ttl)
  end
elseif holds(present, value) then
  redis.call('ZREM', queue, entry)
  local _, fence = parse(present)
  return {now, 'stored', tonumber(fence), redis.call('PTTL', lock)}
end

permit('ZADD', queue, 'NX', '0', entry)
permit('PEXPIRE', queue, keep)
if client then
  redis.call('SET', client, run_id(), 'PX', keep_client)
end
if ticket == '0' then
  ticket = string.format('%.0f', now)
end
local added = redis.call('ZADD', queue, 'NX', ticket, entry)
redis.call('PEXPIRE', queue, keep)
if not present and not watches then
  local next = serve(lock, counter, queue, grace, now)
  if not next then
    redis.call('ZREM', queue, entry)
    return grant(lock, counter, now, value, ttl)
  elseif next[1] == value and next[2] > 0 then
    return {now, 'stored', next[2], next[3]}
  end
end
if not client then
  return {now, 'queued', tonumber(ticket), added}
end
local ahead, subscribed = redis.call('ZRANK', queue, entry) or 0, redis.call('PUBSUB', 'NUMSUB', channel)[2]
return {now, 'queued', tonumber(ticket), added, redis.call('PTTL', lock), ahead, subscribed}
