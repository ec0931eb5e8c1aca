-- Replaces the time to live of a lock that a value holds and, if another value is given, the value. It needs one key, so a slot that is on
-- its way to another node does not stop it. A member of a quorum is given a second key, since another value may have been withdrawn from it
-- before this request arrives.
-- KEYS: lock, in a quorum with another value its withdrawn mark. ARGV: use-by, value, time to live in ms, another value or nothing.
-- Returns the time, and `extended`, fence; or `absent`; or `different`; or `withdrawn`; or `late`.
local now = clock()
if now > tonumber(ARGV[1]) then
  return {now, 'late'}
end
local present = read(KEYS[1])
if not present then
  return {now, 'absent'}
end
local replacement = ARGV[4]
if not holds(present, ARGV[2]) and not (replacement and holds(present, replacement)) then
  return {now, 'different'}
end
if KEYS[2] and redis.call('EXISTS', KEYS[2]) == 1 then
  return {now, 'withdrawn'}
end
local _, fence = parse(present)
if replacement then
  redis.call('SET', KEYS[1], replacement .. '\31' .. fence, 'PX', ARGV[3])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return {now, 'extended', tonumber(fence)}
