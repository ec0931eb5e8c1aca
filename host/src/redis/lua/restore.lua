-- Stores a value with the fence it had, past the queue, unless another value or a withdrawal is in the way.
-- KEYS: lock, fence counter, withdrawn mark. ARGV: use-by, value, time to live in ms, fence.
-- Returns the time, and `stored`, fence, ms left; or `occupied`, value, fence, ms left or -1; or `withdrawn`; or `late`.
local lock, counter, withdrawn = unpack(KEYS)
local value, ttl, fence = unpack(ARGV, 2)
local now = clock()
if now > tonumber(ARGV[1]) then
  return {now, 'late'}
end
local present = read(lock)
if present then
  local other, its_fence = parse(present)
  local outcome = holds(present, value) and {now, 'stored'} or {now, 'occupied', other}
  table.insert(outcome, tonumber(its_fence))
  table.insert(outcome, redis.call('PTTL', lock))
  return outcome
end
if redis.call('EXISTS', withdrawn) == 1 then
  return {now, 'withdrawn'}
end
if (tonumber(redis.call('GET', counter)) or 0) < tonumber(fence) then
  redis.call('SET', counter, fence)
end
redis.call('SET', lock, value .. '\31' .. fence, 'PX', ttl)
return {now, 'stored', tonumber(fence), tonumber(ttl)}
