-- The first part of `set`: a free lock without a queue. It has no functions and comes before those of the second part, since every
-- run of a script makes its functions again.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if now > tonumber(ARGV[1]) then
  return {now, 'late'}
end
if ARGV[2] == '0' and redis.call('EXISTS', KEYS[1], KEYS[3], KEYS[4]) == 0 then
  -- The same as `grant`. Joining the two parts of the time takes less than formatting the number.
  local fence, digits = now, time[1] .. string.sub('00000' .. time[2], -6)
  local last = tonumber(redis.call('SET', KEYS[2], digits, 'GET'))
  if last and last >= now then
    fence, digits = last + 1, string.format('%.0f', last + 1)
    redis.call('SET', KEYS[2], digits)
  end
  redis.call('SET', KEYS[1], ARGV[3] .. '\31' .. digits, 'PX', ARGV[4])
  return {now, 'stored', fence, tonumber(ARGV[4])}
end
