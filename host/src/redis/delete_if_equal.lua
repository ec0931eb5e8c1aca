-- Deletes a key that holds exactly a value, and tells those who wait for it.
-- KEYS: key. ARGV: value.
-- Returns 1; or 0 if there is no such key; or -1 if another value lies there.
local present = redis.call('GET', KEYS[1])
if not present then
  return 0
end
if present ~= ARGV[1] then
  return -1
end
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', KEYS[1], '')
return 1
