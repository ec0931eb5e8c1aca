-- A queue entry is `CLIENT␟TTL␟VALUE`, and its score the ticket. A step looks at this many of them at most.
local MOST_ENTRIES = 1000
-- For how long the head of a queue may take to subscribe again after a failover, and for how long there is no second grace, in ms.
local GRACE, GRACE_INTERVAL = 1000, 10000

-- Keys that only a queue needs. Scripts that usually find none do not declare them: each declared key takes time.
local function counter_of(queue)
  return (string.gsub(queue, '\31queue(%b{}).*$', '\31fence%1', 1))
end

local function grace_of(queue)
  return (string.gsub(queue, '\31queue', '\31grace', 1))
end

-- Fails if the user may not run a command, before anything is written. Redis 6 cannot tell.
local function permit(...)
  if redis.acl_check_cmd and not redis.acl_check_cmd(...) then
    error('NOPERM this user has no permissions to run ' .. table.concat({...}, ' ', 1, 2))
  end
end

-- Which server this is: another one after a failover or a slot move.
local function run_id()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
end

-- Whether the head is waited for although it is not subscribed: its client reported at another server, and there is a grace left.
local function has_grace(now, grace, reported_at)
  if reported_at == '' or reported_at == run_id() then
    return false
  end
  local ends, latest = tonumber(redis.call('GET', grace)), now + GRACE * 1000
  -- It ends later than that if the clock was set back.
  if not ends or ends > latest then
    ends = latest
    redis.call('SET', grace, string.format('%.0f', ends), 'PX', GRACE_INTERVAL)
  end
  return now < ends, ends
end

-- Stores the value of a live waiter. The entry is put back if the fence cannot be had.
local function hand_off(lock, counter, queue, now, head, ticket, ttl, value)
  redis.call('ZREM', queue, head)
  local fenced, fence = pcall(next_fence, counter, now)
  if not fenced then
    redis.call('ZADD', queue, ticket, head)
    error(fence)
  end
  redis.call('SET', lock, value .. '\31' .. fence, 'PX', ttl)
  return {value, tonumber(fence), tonumber(ttl)}
end

-- Gives a lock that is free, or about to be, to the first live waiter. The one that `asks` for it in this step, by its value, is live.
-- Returns what is then under the key: value, fence and time to live; during a grace, the value of the head, 0, and the rest of the
-- grace; or nil if no waiter is live. `first` is the first entry with its ticket, if it was read before.
local function serve(lock, counter, queue, grace, now, asks, first)
  local base, tag, name = string.match(queue, '^([^\31]*\31)queue(%b{})(.*)$')
  local moved = {}
  for entry = 1, MOST_ENTRIES do
    local head, ticket = unpack(entry == 1 and first or redis.call('ZRANGE', queue, '0', '0', 'WITHSCORES'))
    if not head or moved[head] then
      return nil
    end
    local client, ttl, value = string.match(head, '^(%x+)\31(%d+)\31(.*)$')
    local channel = base .. 'wake' .. tag .. (client or '')
    if entry == 1 then
      permit('PUBLISH', channel, '')
      permit('ZREM', queue, head)
    end
    local reported_at = redis.call('GET', base .. 'client' .. tag .. (client or ''))
    local subscribed = redis.call('PUBSUB', 'NUMSUB', channel)[2] > 0
    if subscribed and ttl == '0' then
      redis.call('ZREM', queue, head)
      redis.call('PUBLISH', channel, name .. '\31' .. value)
    elseif (subscribed and reported_at) or (asks and value == asks) then
      local next = hand_off(lock, counter, queue, now, head, ticket, ttl, value)
      redis.call('PUBLISH', channel, string.format('%s\31%s\31%.0f\31%.0f', name, value, next[2], now))
      return next
    elseif subscribed then
      moved[head] = true
      redis.call('ZADD', queue, string.format('%.0f', now + entry), head)
      redis.call('PUBLISH', channel, name)
    else
      local waits, ends = has_grace(now, grace, ttl ~= '0' and reported_at or '')
      if waits then
        return {value, 0, math.ceil((ends - now) / 1000)}
      end
      redis.call('ZREM', queue, head)
    end
  end
  return nil
end
