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

-- After the first of these writes the server refuses none for want of memory.
local place = redis.call('LPOP', line)
local now = place and time()
while place do
  local due, ttl, keep, listener, value = read_place(place)
  local channel = line .. listener
  -- Who listens to a replica or to another node hears what is published here, but is not known here: nothing may be said then
  -- that is not done.
  if now < due and redis.call('PUBSUB', 'NUMSUB', channel)[2] > 0 then
    local revision = next_revision(fence, keep, now)
    redis.call('SET', key, value, 'PX', ttl)
    redis.call('PUBLISH', channel, string.format('%.0f %.0f %s', revision, now, value))
    return 1
  end
  -- An owner who is there after all can look.
  redis.call('PUBLISH', channel, '')
  place = redis.call('LPOP', line)
end
redis.call('DEL', key)
redis.call('PUBLISH', key, '')
return 1
