-- Makes the revision of a key that holds exactly a value at least so high.
-- KEYS: key, its fence. ARGV: value, revision, time to keep the fence in ms, should it have been forgotten.
-- Returns 1, or 0 if the key does not hold the value.
local key, fence, value, revision, keep = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]
if redis.call('GET', key) ~= value then
  return 0
end
if (tonumber(redis.call('GET', fence)) or 0) < tonumber(revision) then
  redis.call('SET', fence, revision, 'PX', math.max(redis.call('PTTL', fence), tonumber(keep)))
end
return 1
