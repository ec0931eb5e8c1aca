-- Replaces the time to live of a lock that a value holds. It needs one key, so a slot that is on its way to another node does not
-- stop it.
-- KEYS: lock. ARGV: use-by, value, time to live in ms.
-- Returns the time, and `extended`, fence; or `absent`; or `different`; or `late`.
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
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local _, fence = parse(present)
return {now, 'extended', tonumber(fence)}
