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
  local is_there, message = now < due, ''
  if is_there then
    local revision = next_revision(fence, keep, now)
    redis.call('SET', key, value, 'PX', ttl)
    message = string.format('%.0f %.0f %s', revision, now, value)
  end
  -- Those whose owner may be gone are not stored. An owner who is there after all can look.
  if redis.call('PUBLISH', line .. listener, message) > 0 and is_there then
    return 1
  end
  place = redis.call('LPOP', line)
end
redis.call('DEL', key)
redis.call('PUBLISH', key, '')
return 1
