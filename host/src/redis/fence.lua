-- The server's time in microseconds.
local function time()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- The next revision of a key: more than the last one, and at least the time, so that it still rises after the last one was
-- forgotten. Kept for `keep` milliseconds. Exact as a double until the year 2255.
local function next_revision(fence, keep, now)
  local revision = math.max((tonumber(redis.call('GET', fence)) or 0) + 1, now)
  redis.call('SET', fence, string.format('%.0f', revision), 'PX', keep)
  return revision
end
