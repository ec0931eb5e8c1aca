-- Stores a value for `ttl` milliseconds unless the key holds another. The same value already there is a request that is
-- asked again. Answers the revision, the milliseconds left, and false if the value lies there now, or the other value
-- that does.
local function set(key, fence, value, ttl, keep)
  local present = redis.call('GET', key)
  if not present then
    redis.call('SET', key, value, 'PX', ttl)
    return {next_revision(fence, keep, time()), tonumber(ttl), false}
  end
  local revision, left = tonumber(redis.call('GET', fence)) or 0, redis.call('PTTL', key)
  if present == value then
    -- Written again, so that waiting for replicas waits for it.
    redis.call('SET', key, value, 'KEEPTTL')
    return {revision, left, false}
  end
  return {revision, left, present}
end
