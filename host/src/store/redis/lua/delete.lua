-- Releases a lock that a value holds.
-- KEYS: lock, fence counter, queue, grace. ARGV: use-by, value.
-- Returns the time, and `deleted`, `absent`, `different` or `late`.
release(KEYS[1], KEYS[2], KEYS[3], KEYS[4], now)
return {now, 'deleted'}
