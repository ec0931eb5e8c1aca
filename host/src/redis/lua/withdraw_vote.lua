-- Removes a vote unless it has a higher fence, and makes the fence counter at least so high: late votes are outdated then.
-- KEYS: lock, fence counter, queue, grace. ARGV: use-by, value, fence.
-- Returns the time, and `withdrawn` or `late`.
local lock, counter, queue, grace = unpack(KEYS)
local value, fence = unpack(ARGV, 2)
local now = clock()
if now > tonumber(ARGV[1]) then
  return {now, 'late'}
end
local present, last = read(lock), last_fence(counter)
permit('SET', counter, fence)
permit('DEL', lock)
if present and holds(present, value) then
  local _, its_fence = parse(present)
  if tonumber(its_fence) <= tonumber(fence) then
    release(lock, counter, queue, grace, now)
  end
end
if last < tonumber(fence) then
  redis.call('SET', counter, fence)
end
return {now, 'withdrawn'}
