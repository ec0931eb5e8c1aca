-- Replaces the time to live of a key that holds exactly a value. If it is less than what was left, those who wait for the
-- key are told: they sleep until the old time.
-- KEYS: key, its fence, its line. ARGV: value, time to live in ms, time to keep the fence in ms.
-- Returns 1, revision; or 0 if there is no such key; or -1 if another value lies there.
local key, fence, line, value, ttl, keep = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], ARGV[3]
local present = redis.call('GET', key)
if not present then
  return {0, 0}
end
if present ~= value then
  return {-1, 0}
end
if tonumber(ttl) < redis.call('PTTL', key) then
  redis.call('PUBLISH', key, '')
  for _, place in ipairs(redis.call('LRANGE', line, 0, -1)) do
    local _, _, _, listener = read_place(place)
    redis.call('PUBLISH', line .. listener, '')
  end
end
redis.call('PEXPIRE', key, ttl)
if redis.call('PEXPIRE', fence, keep) == 1 then
  return {1, tonumber(redis.call('GET', fence))}
end
-- The server forgot the fence, for want of memory perhaps. A higher one does no harm: the holder is the same.
return {1, next_revision(fence, keep, time())}
