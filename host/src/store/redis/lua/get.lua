-- Reads a lock. KEYS: lock.
-- Returns the time, and `found`, value, fence, ms left or -1; or `absent`.
local now, present = clock(), read(KEYS[1])
if not present then
  return {now, 'absent'}
end
local value, fence = parse(present)
return {now, 'found', value, tonumber(fence), redis.call('PTTL', KEYS[1])}
