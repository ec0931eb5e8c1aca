-- Stores a value unless the key holds another.
-- KEYS: key, its fence. ARGV: value, time to live in ms, time to keep the fence in ms.
-- Returns what `set` answers.
return set(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
