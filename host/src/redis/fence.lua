-- The next revision of a key: more than the last one, and at least the server's time in microseconds, so that it
-- still rises after the last one was forgotten. Kept for `keep` milliseconds. Exact as a double until the year 2255.
-- Answers the time too.
local function next_revision(fence, keep)
  local time = redis.call('TIME')
  local now = time[1] * 1000000 + time[2]
  local revision = math.max((tonumber(redis.call('GET', fence)) or 0) + 1, now)
  redis.call('SET', fence, string.format('%.0f', revision), 'PX', keep)
  return revision, now
end
