-- Stores a value past the queue with the fence of a quorum's candidate, if the lock is free and no fence of the slot is that high. Replaces the
-- fence of an earlier vote of the same candidate. A vote of an earlier call with the same value keeps its fence, and counts for this candidate.
-- KEYS: lock, fence counter, withdrawn mark, resumed mark.
-- ARGV: use-by, value, time to live in ms, fence, the first fence of the candidate, ms until the resumed mark expires.
-- Returns the time, and `stored`, fence, ms left; or `occupied`, value, fence, ms left or -1; or `outdated`, fence; or `withdrawn`; or
-- `late`.
local lock, counter, withdrawn, resumed = unpack(KEYS)
local value, ttl, fence, since, keep = unpack(ARGV, 2)
local now = clock()
if now > tonumber(ARGV[1]) then
  return {now, 'late'}
end
local present = read(lock)
if present and not holds(present, value) then
  return occupied(lock, now, present)
elseif present then
  local _, its_fence = parse(present)
  its_fence = tonumber(its_fence)
  if its_fence < tonumber(since) then
    -- A withdrawal by the earlier call may still be under way.
    redis.call('SET', resumed, fence, 'PX', keep)
    raise(counter, fence, last_fence(counter))
  end
  if its_fence < tonumber(since) or its_fence >= tonumber(fence) then
    return {now, 'stored', its_fence, redis.call('PTTL', lock)}
  end
elseif redis.call('EXISTS', withdrawn) == 1 then
  return {now, 'withdrawn'}
end
local last = last_fence(counter)
if last >= tonumber(fence) then
  return {now, 'outdated', last}
end
return store_with(lock, counter, now, value, ttl, fence, last)
