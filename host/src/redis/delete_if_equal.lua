-- Deletes a key that holds exactly a value, and tells those who wait for it; or stores the next value of its line there
-- instead, and tells only whose that is.
-- KEYS: key, its fence, its line. ARGV: value.
-- Returns 1; or 0 if there is no such key; or -1 if another value lies there.
local key, fence, line = KEYS[1], KEYS[2], KEYS[3]
local present = redis.call('GET', key)
if not present then
  return 0
end
if present ~= ARGV[1] then
  return -1
end

-- Answers how many have heard of it: none if whose value it is has gone away.
local function hand_over(ttl, keep, listener, value)
  local revision, now = next_revision(fence, keep)
  redis.call('SET', key, value, 'PX', ttl)
  return redis.call('PUBLISH', line .. listener, string.format('%.0f %.0f %s', revision, now, value))
end

local place = redis.call('LPOP', line)
while place do
  local ttl, keep, listener, value = string.match(place, '^(%d+) (%d+) (%x+) (.*)$')
  local done, heard = pcall(hand_over, ttl, keep, listener, value)
  if done and heard > 0 then
    return 1
  end
  if not done then
    -- The server has no memory to store it, perhaps. Let them look for themselves.
    redis.pcall('PUBLISH', line .. (listener or ''), '')
    break
  end
  place = redis.call('LPOP', line)
end
redis.call('DEL', key)
redis.call('PUBLISH', key, '')
return 1
