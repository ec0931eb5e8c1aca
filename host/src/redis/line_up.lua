-- Stores a value unless the key holds another. If it does, the value is lined up: whoever deletes what is before it stores it.
-- KEYS: key, its fence, its line. ARGV: value, time to live in ms, time to keep the fence in ms, who is to be told.
-- Returns what `set` answers, and the server's time in microseconds.
local key, fence, line = KEYS[1], KEYS[2], KEYS[3]
local value, ttl, keep, listener = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local answer = set(key, fence, value, ttl, keep)
local place = table.concat({ttl, keep, listener, value}, ' ')
if not answer[3] then
  redis.call('LREM', line, 1, place)
  answer[4] = 0
  return answer
end
if not redis.call('LPOS', line, place) then
  redis.call('RPUSH', line, place)
end
redis.call('PEXPIRE', line, keep)
local time = redis.call('TIME')
answer[4] = time[1] * 1000000 + time[2]
return answer
