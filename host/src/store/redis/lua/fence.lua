-- The next fence: more than the last one in this slot, and at least the time, so that fences increase after a loss of data too.
-- Exact as a double until the year 2255. Changes nothing if the counter is not a string.
local function next_fence(counter, now)
  local fence = string.format('%.0f', now)
  local last = tonumber(redis.call('SET', counter, fence, 'GET') or 0)
  if last and last >= now then
    fence = string.format('%.0f', last + 1)
    redis.call('SET', counter, fence)
  end
  return fence
end

-- Stores a value under a key that is free, with a new fence.
local function grant(lock, counter, now, value, ttl)
  local fence = next_fence(counter, now)
  redis.call('SET', lock, value .. '\31' .. fence, 'PX', ttl)
  return {now, 'stored', tonumber(fence), tonumber(ttl)}
end
