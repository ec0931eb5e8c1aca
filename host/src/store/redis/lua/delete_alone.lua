-- The first part of `delete`: a lock without a queue. It has no functions and comes before those of the second part, since every
-- run of a script makes its functions again.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if now > tonumber(ARGV[1]) then
  return {now, 'late'}
end
-- The same as `read` and `holds`, but for foreign values: those are left to the second part.
local value, present = ARGV[2], redis.pcall('GETRANGE', KEYS[1], '0', '1280')
local is_held = type(present) == 'string' and string.sub(present, 1, #value + 1) == value .. '\31'
-- Where there is a queue, this saves reading its head again.
local head = is_held and redis.call('ZRANGE', KEYS[2], '0', '0', 'WITHSCORES')
if head and not head[1] then
  redis.call('DEL', KEYS[1])
  return {now, 'deleted'}
end
