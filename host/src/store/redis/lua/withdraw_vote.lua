-- Removes a vote with a fence of its candidate, unless a later call has counted it, and makes the fence counter at least as high as the last of
-- them: late votes are outdated then.
-- KEYS: lock, fence counter, queue, grace, resumed mark. ARGV: use-by, value, the first and the last fence of the candidate.
-- Returns the time, and `withdrawn` or `late`.
local lock, counter, queue, grace, resumed = unpack(KEYS)
local value, first, fence = unpack(ARGV, 2)
local now = clock()
if now > tonumber(ARGV[1]) then
  return {now, 'late'}
end
local present, last, counted = read(lock), last_fence(counter), last_fence(resumed)
permit('SET', counter, fence)
permit('DEL', lock)
if present and holds(present, value) and counted <= tonumber(fence) then
  local _, its_fence = parse(present)
  if tonumber(its_fence) >= tonumber(first) and tonumber(its_fence) <= tonumber(fence) then
    release(lock, counter, queue, grace, now)
  end
end
raise(counter, fence, last)
return {now, 'withdrawn'}
