-- Stores a value unless the key holds another. The same value already there is a request that is asked again.
-- KEYS: key, its fence. ARGV: value, time to live in ms, time to keep the fence in ms.
-- Returns revision, ms left, and nil if the value lies there now, or the other value that does.
local key, fence, value, ttl, keep = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]
local present = redis.call('GET', key)
if not present then
  redis.call('SET', key, value, 'PX', ttl)
  return {next_revision(fence, keep), tonumber(ttl), false}
end
local revision, left = tonumber(redis.call('GET', fence)) or 0, redis.call('PTTL', key)
if present == value then
  -- Written again, so that waiting for replicas waits for it.
  redis.call('SET', key, value, 'KEEPTTL')
  return {revision, left, false}
end
return {revision, left, present}
