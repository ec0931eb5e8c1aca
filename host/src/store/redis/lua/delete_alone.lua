-- The first part of `delete`: a lock without a queue. It comes before functions that only the second part needs, since every run of a
-- script makes its functions again.
local now = clock()
if now > tonumber(ARGV[1]) then
  return {now, 'late'}
end
local present = read(KEYS[1])
if not present then
  return {now, 'absent'}
end
if not holds(present, ARGV[2]) then
  return {now, 'different'}
end
if redis.call('EXISTS', KEYS[3]) == 0 then
  redis.call('DEL', KEYS[1])
  return {now, 'deleted'}
end
