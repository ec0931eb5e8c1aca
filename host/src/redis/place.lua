-- A place in a line: a value that is to be stored for `ttl` milliseconds, and its fence to be kept for `keep`; the channel on
-- which its owner listens is called like the line and `listener`. If the owner has not come again by the time `due`, in
-- microseconds, it may be gone although nobody has noticed.
local function write_place(due, ttl, keep, listener, value)
  return string.format('%.0f %s %s %s %s', due, ttl, keep, listener, value)
end

local function read_place(place)
  local due, ttl, keep, listener, value = string.match(place, '^(%d+) (%d+) (%d+) (%x+) (.*)$')
  return tonumber(due) or 0, ttl, keep, listener or '', value
end

-- The index of a value's place, and the place; or how many places there are.
local function find_place(line, listener, value)
  local places = redis.call('LRANGE', line, 0, -1)
  local rest = ' ' .. listener .. ' ' .. value
  for index, place in ipairs(places) do
    if string.sub(place, -#rest) == rest then
      return index - 1, place
    end
  end
  return #places
end
