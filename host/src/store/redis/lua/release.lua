-- Takes the lock from its holder: the first live waiter has it then, or else it is free. `head` is the first entry of the queue with its
-- ticket, if the caller has read it.
local function release(lock, counter, queue, grace, now, head)
  permit('DEL', lock)
  local next = serve(lock, counter, queue, grace, now, nil, head)
  if not next or next[2] == 0 then
    redis.call('DEL', lock)
  end
end
