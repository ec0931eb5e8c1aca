-- Stores a value with the fence it has on other members of a quorum, past the queue, unless another value or a withdrawal is in the way.
-- Replaces a lower fence of the same value, and shortens no time to live.
-- KEYS: lock, fence counter, withdrawn mark. ARGV: use-by, value, time to live in ms, fence.
-- Returns the time, and `stored`, fence, ms left; or `occupied`, value, fence, ms left or -1; or `withdrawn`; or `late`.
local lock, counter, withdrawn = unpack(KEYS)
local value, ttl, fence = unpack(ARGV, 2)
local now = clock()
if now > tonumber(ARGV[1]) then
  return {now, 'late'}
end
local present = read(lock)
if present and not holds(present, value) then
  return occupied(lock, now, present)
elseif present then
  local _, its_fence = parse(present)
  local left = redis.call('PTTL', lock)
  if tonumber(its_fence) >= tonumber(fence) then
    return {now, 'stored', tonumber(its_fence), left}
  end
  -- It may have been extended since the client decided to restore it.
  ttl = math.max(left, tonumber(ttl))
elseif redis.call('EXISTS', withdrawn) == 1 then
  return {now, 'withdrawn'}
end
return store_with(lock, counter, now, value, ttl, fence, last_fence(counter))
