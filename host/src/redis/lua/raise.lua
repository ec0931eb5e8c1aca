-- Makes the fence of a lock that a value holds at least so high.
-- KEYS: lock, fence counter. ARGV: use-by, value, fence.
-- Returns the time, and `raised`, `different` or `late`.
local now = clock()
if now > tonumber(ARGV[1]) then
  return {now, 'late'}
end
local present = read(KEYS[1])
if not present or not holds(present, ARGV[2]) then
  return {now, 'different'}
end
local _, fence = parse(present)
if tonumber(fence) < tonumber(ARGV[3]) then
  if (tonumber(redis.call('GET', KEYS[2])) or 0) < tonumber(ARGV[3]) then
    redis.call('SET', KEYS[2], ARGV[3])
  end
  redis.call('SET', KEYS[1], ARGV[2] .. '\31' .. ARGV[3], 'KEEPTTL')
end
return {now, 'raised'}
