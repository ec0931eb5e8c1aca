-- Takes a value out of a line. It may lie under the key already.
-- KEYS: line. ARGV: who was to be told, value.
local place_ends = ' ' .. ARGV[1] .. ' ' .. ARGV[2]
for _, place in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  if string.sub(place, -#place_ends) == place_ends then
    redis.call('LREM', KEYS[1], 1, place)
  end
end
return 1
