-- The first part of `set`: a free lock without a queue. It comes before functions that only the second part needs, since every run of a
-- script makes its functions again.
local now = clock()
if now > tonumber(ARGV[1]) then
  return {now, 'late'}
end
if ARGV[2] == '0' and redis.call('EXISTS', KEYS[1], KEYS[3], KEYS[5]) == 0 then
  return grant(KEYS[1], KEYS[2], now, ARGV[3], ARGV[4])
end
