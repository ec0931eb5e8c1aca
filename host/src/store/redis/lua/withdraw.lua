-- Removes a value from the queue and from the key, and refuses it for a while: a request that stores it may still be on its way.
-- KEYS: lock, fence counter, queue, grace, withdrawn mark.
-- ARGV: use-by, value, queue entry or nothing, ms until the mark expires.
-- Returns the time, and `withdrawn` or `late`.
local lock, counter, queue, grace, withdrawn = unpack(KEYS)
local value, entry, keep = unpack(ARGV, 2)
local now = clock()
if now > tonumber(ARGV[1]) then
  return {now, 'late'}
end
local present = read(lock)
permit('SET', withdrawn, '1')
permit('ZREM', queue, entry)
permit('DEL', lock)
if present and holds(present, value) then
  redis.call('ZREM', queue, entry)
  release(lock, counter, queue, grace, now)
else
  redis.call('ZREM', queue, entry)
end
redis.call('SET', withdrawn, '1', 'PX', keep)
return {now, 'withdrawn'}
