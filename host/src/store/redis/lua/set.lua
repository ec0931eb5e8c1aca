-- Makes one attempt. With a queue entry, it is the last step of a wait, and removes the entry.
-- KEYS: lock, fence counter, queue, withdrawn mark.
-- ARGV: use-by, ms to keep the mark or 0, value, time to live in ms, queue entry or nothing.
-- Returns the time, and `stored`, fence, ms left; or `occupied`, value, fence, ms left or -1; or `withdrawn`; or `late`.
local lock, counter, queue, withdrawn = unpack(KEYS)
local keep_mark, value, ttl, entry = unpack(ARGV, 2)
local present = read(lock)
if not present and redis.call('EXISTS', withdrawn) == 1 then
  return {now, 'withdrawn'}
end
local answer
if present and holds(present, value) then
  -- Written again, so that waiting for replicas waits for it.
  redis.call('SET', lock, present, 'KEEPTTL')
  local _, fence = parse(present)
  answer = {now, 'stored', tonumber(fence), redis.call('PTTL', lock)}
elseif present then
  local other, fence = parse(present)
  answer = {now, 'occupied', other, tonumber(fence), redis.call('PTTL', lock)}
else
  local next = serve(lock, counter, queue, grace_of(queue), now, value)
  if not next then
    answer = grant(lock, counter, now, value, ttl)
  elseif next[1] == value and next[2] > 0 then
    answer = {now, 'stored', next[2], next[3]}
  else
    answer = {now, 'occupied', next[1], next[2], next[3]}
  end
end
if entry then
  redis.call('ZREM', queue, entry)
end
return final(withdrawn, keep_mark, answer)
