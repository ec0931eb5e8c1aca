-- A lock key holds `VALUE␟FENCE`, or else a foreign value. What is longer than this is foreign.
local LONGEST = '1280'

-- What is under the key, or nil. No more of it is read than can be ours.
local function read(lock)
  local present = redis.pcall('GETRANGE', lock, '0', LONGEST)
  if type(present) == 'table' then
    -- Only here it is the lock itself that is of another type.
    error((string.gsub(present.err, 'WRONGTYPE', 'LOCKTYPE')))
  end
  if present == '' and redis.call('EXISTS', lock) == 0 then
    return nil
  end
  return present
end

-- Whether a value is what is under the key.
local function holds(present, value)
  return present == value or string.sub(present, 1, #value + 1) == value .. '\31'
end

-- The value and its fence. Of a foreign value, the beginning and 0.
local function parse(present)
  local value, fence = string.match(present, '^([^\31]*)\31(%d+)$')
  if not value or #present > tonumber(LONGEST) then
    return string.sub(present, 1, 256), '0'
  end
  return value, fence
end
