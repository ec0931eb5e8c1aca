-- Reads a key. KEYS: key, its fence. Returns value or nil, revision, ms left or -1 if it never expires.
return {redis.call('GET', KEYS[1]), tonumber(redis.call('GET', KEYS[2])) or 0, redis.call('PTTL', KEYS[1])}
