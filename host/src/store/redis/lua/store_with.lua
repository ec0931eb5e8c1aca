-- The counter never gets lower.
local function raise(counter, fence, last)
  if last < tonumber(fence) then
    redis.call('SET', counter, fence)
  end
end

-- Stores a value with a fence that the client chose.
local function store_with(lock, counter, now, value, ttl, fence, last)
  raise(counter, fence, last)
  redis.call('SET', lock, value .. '\31' .. fence, 'PX', ttl)
  return {now, 'stored', tonumber(fence), tonumber(ttl)}
end

-- The highest fence of the slot.
local function last_fence(counter)
  return tonumber(redis.call('GET', counter) or 0) or 0
end

-- What is under a key that holds another value.
local function occupied(lock, now, present)
  local other, fence = parse(present)
  return {now, 'occupied', other, tonumber(fence), redis.call('PTTL', lock)}
end
