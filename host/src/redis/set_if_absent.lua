-- Stores a value unless the key holds another. The same value already there is a request that is asked again.
-- KEYS: key, its fence. ARGV: value, time to live in ms, time to keep the fence in ms.
-- Returns 1, revision, ms left if the value lies there, or 0, revision, ms left, value if another does.
local key, fence, value, ttl, keep = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]
local present = redis.call('GET', key)
if not present then
  redis.call('SET', key, value, 'PX', ttl)
  return {1, next_revision(fence, keep), tonumber(ttl)}
end
local revision, left = tonumber(redis.call('GET', fence)) or 0, redis.call('PTTL', key)
if present == value then
  return {1, revision, left}
end
return {0, revision, left, present}
