-- Answers a request for the last time. If it was repeated, an earlier copy may still be under way, and must not store the value again.
local function final(withdrawn, keep_mark, answer)
  if keep_mark ~= '0' then
    redis.call('SET', withdrawn, '1', 'PX', keep_mark)
  end
  return answer
end
