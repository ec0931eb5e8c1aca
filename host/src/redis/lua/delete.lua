-- Releases a lock that a value holds.
-- KEYS: lock, fence counter, queue, grace. ARGV: use-by, value.
-- Returns the time, and `deleted`, `absent`, `different` or `late`.
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
release(KEYS[1], KEYS[2], KEYS[3], KEYS[4], now)
return {now, 'deleted'}
