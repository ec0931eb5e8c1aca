-- Takes a value out of a line. It may lie under the key already.
-- KEYS: line. ARGV: who was to be told, value.
local _, place = find_place(KEYS[1], ARGV[1], ARGV[2])
if place then
  redis.call('LREM', KEYS[1], 1, place)
end
return 1
