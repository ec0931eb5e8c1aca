-- What scripts see, and how they are run. `describe` answers the message of an error that a command raised, or nil; `library` has the
-- functions of the server. Returns the environment of all scripts, and the function that runs one.
local describe, library, names = ...
local error, pcall, xpcall, type, tostring, setmetatable = error, pcall, xpcall, type, tostring, setmetatable
local match, select = string.match, select

-- The line of the script that is running.
local function line()
  for level = 3, 20 do
    local _, position = pcall(error, '', level)
    local found = match(position, '^user_script:(%d+):')
    if found then
      return found
    end
  end
end

local function as_table(err)
  if type(err) == 'table' then
    return err
  end
  return {err = describe(err) or 'ERR ' .. tostring(err)}
end

local function on_error(err)
  err = as_table(err)
  err.line = line()
  return err
end

local function readonly()
  error('Attempt to modify a readonly table', 2)
end

local visible = {}
for _, name in ipairs({'assert', 'error', 'getmetatable', 'ipairs', 'next', 'pairs', 'rawequal', 'rawget', 'select',
                       'setmetatable', 'tonumber', 'tostring', 'type', 'unpack', 'xpcall', 'string', 'table', 'math'}) do
  visible[name] = _G[name]
end

-- Scripts get the message of a command's error, not the table.
local function unwrapped(ok, err, ...)
  if not ok and type(err) ~= 'string' then
    err = describe(err) or (type(err) == 'table' and type(err.err) == 'string' and err.err) or err
  end
  return ok, err, ...
end

function visible.pcall(...)
  return unwrapped(pcall(...))
end

local function single_field(name, prepare)
  return function(...)
    if select('#', ...) ~= 1 or type(...) ~= 'string' then
      return {err = 'ERR wrong number or type of arguments'}
    end
    return {[name] = prepare(...)}
  end
end

library.error_reply = single_field('err', function(text)
  text = match(text, '^%-?(.*)$')
  return match(text, ' ') and text or 'ERR ' .. text
end)
library.status_reply = single_field('ok', function(text) return text end)

for _, name in ipairs(names) do
  visible[name] = setmetatable({}, {__index = library, __newindex = readonly})
end
setmetatable(visible, {__index = function(_, name)
  error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
end})

local environment = setmetatable({}, {__index = visible, __newindex = readonly})

local function run(script, keys, args)
  visible.KEYS, visible.ARGV = keys, args
  return xpcall(script, on_error)
end

return environment, run
