-- Releases a lock that a value holds.
-- KEYS: lock, queue. ARGV: use-by, value.
-- Returns the time, and `deleted`, `absent`, `different` or `late`.
if not is_held then
  present = read(KEYS[1])
  if not present then
    return {now, 'absent'}
  elseif not holds(present, value) then
    return {now, 'different'}
  end
end
release(KEYS[1], counter_of(KEYS[2]), KEYS[2], grace_of(KEYS[2]), now, head)
return {now, 'deleted'}
