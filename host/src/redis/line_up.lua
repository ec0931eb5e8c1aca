-- Stores a value unless the key holds another. If it does, the value is lined up, once: whoever deletes what is before it
-- stores it.
-- KEYS: key, its fence, its line. ARGV: value, time to live in ms, time to keep the fence in ms, who is to be told.
-- Returns what `set` answers, and if the value is in line, the time in microseconds and in how many milliseconds to come again.
local key, fence, line = KEYS[1], KEYS[2], KEYS[3]
local value, ttl, keep, listener = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local answer = set(key, fence, value, ttl, keep)
local index, place = find_place(line, listener, value)
if not answer[3] then
  if place then
    redis.call('LREM', line, 1, place)
  end
  return {answer[1], answer[2], false, 0, 0}
end
-- Far behind, there is no hurry.
local now, pause = time(), 2000 + 125 * index
local renewed = write_place(now + 2500 * pause, ttl, keep, listener, value)
if place then
  redis.call('LSET', line, index, renewed)
else
  redis.call('RPUSH', line, renewed)
end
redis.call('PEXPIRE', line, keep)
return {answer[1], answer[2], answer[3], now, pause}
