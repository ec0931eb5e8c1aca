-- Takes the lock from its holder: the first live waiter has it then, or else it is free.
local function release(lock, counter, queue, grace, now)
  if redis.call('EXISTS', queue) == 1 then
    permit('DEL', lock)
    local next = serve(lock, counter, queue, grace, now)
    if next and next[2] > 0 then
      return
    end
  end
  redis.call('DEL', lock)
end
