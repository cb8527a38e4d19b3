-- What takes a script's writes back. Redis does not roll back a script that fails in its middle, so each write
-- notes what undoes it, and before the first of a kind it is tried, without a change, whether the user may.
--
-- KEYS  positions (hash), ..., the fourth: what the names of keys begin with that are put aside
local guard = (function()
  local error, unpack, ipairs, type, min = error, unpack, ipairs, type, math.min
  local protected, find = redis.pcall, string.find
  local POSITIONS, ASIDE = KEYS[1], KEYS[4]

  -- What the server answers to a script for reasons of its own, whatever the data are: that its user may not run a
  -- command or use a key (Redis up to 7.0, and since), that there is no such command (Redis, and Valkey). Whether
  -- anything may be written at all is known by then: it is full, read-only or away for the whole script or not at all.
  local OWN = { 'user executing the script can', 'ACL failure', 'nknown %a+ command', 'nknown command' }
  local guard = { unable = nil, operation = 0 }

  -- A command has failed: for the server's own reasons, so that nothing of the script stays, or for what it is,
  -- so that this operation does not.
  local function fail(answer, command, key)
    for _, sign in ipairs(OWN) do
      if find(answer.err, sign) then
        guard.unable = { answer.err, command, key or '' }
        break
      end
    end
    error(answer, 0)
  end

  -- Runs a command.
  local function run(...)
    local answer = protected(...)
    if type(answer) == 'table' and answer.err then fail(answer, ...) end
    return answer
  end

  -- Commands that change nothing, and show whether the user may run them.
  local TRIALS = {
    HDEL = { POSITIONS, '\0' }, LTRIM = { ASIDE, '0', '-1' }, PEXPIRE = { ASIDE, '1000' }, PERSIST = { ASIDE },
    RENAME = { POSITIONS, POSITIONS }, SET = { ASIDE, '', 'XX' }, SREM = { ASIDE, '\0' }, UNLINK = { ASIDE },
    ZADD = { ASIDE, 'XX', '0', '\0' }, ZREM = { ASIDE, '\0' },
  }
  local allowed = { HSET = true }

  -- Makes sure that what will undo a write may be done.
  local function allow(command)
    if allowed[command] then return end
    if command == 'SADD' then
      run('SADD', ASIDE, '\0')
      run('UNLINK', ASIDE)
    else
      run(command, unpack(TRIALS[command]))
    end
    allowed[command] = true
  end

  -- Four places per entry: who undoes it, and what it is given.
  local log, size, aside = {}, 0, 0
  local function note(how, a, b, c)
    log[size + 1], log[size + 2], log[size + 3], log[size + 4] = how, a, b or false, c or false
    size = size + 4
  end

  local failure
  local function undo(...)
    local answer = protected(...)
    if type(answer) == 'table' and answer.err then failure = failure or answer.err end
  end

  local function by(command, key, arguments)
    if arguments then undo(command, key, unpack(arguments)) else undo(command, key) end
  end
  -- Notes the command that undoes the write before.
  local function undo_by(command, key, ...)
    note(by, command, key, { ... })
  end

  local timed = {}
  local function end_then(key, left)
    if left == -1 then undo('PERSIST', key) else undo('PEXPIRE', key, left > 0 and left or 1) end
  end
  -- Notes when a key ends, before something may change that.
  local function keep_time(key)
    if timed[key] == guard.operation then return end
    allow('PEXPIRE')
    allow('PERSIST')
    local left = run('PTTL', key)
    timed[key] = guard.operation
    if left ~= -2 then note(end_then, key, left) end
  end

  local function back(name, key) undo('RENAME', name, key) end
  local function gone(key) undo('UNLINK', key) end
  local function next_aside()
    allow('RENAME')
    allow('UNLINK')
    aside = aside + 1
    return ASIDE .. ':' .. aside
  end
  -- Puts a key aside, as it is; to be gone for good when all has succeeded.
  local function put_aside(key)
    local name = next_aside()
    run('RENAME', key, name)
    note(back, name, key)
  end
  -- Keeps a copy of a key, whatever it holds.
  local function keep_whole(key)
    local name = next_aside()
    if run('COPY', key, name, 'REPLACE') == 1 then note(back, name, key) else note(gone, key) end
  end
  -- Copies a key to another that is not there; whether it is there now.
  local function copy(from, to)
    allow('UNLINK')
    if run('COPY', from, to) == 0 then return false end
    note(gone, to)
    return true
  end

  local function field_back(key, name, old)
    if old then undo('HSET', key, name, old) else undo('HDEL', key, name) end
  end
  local function fields_back(key, names, old)
    -- Those that were not there go last: the key must not end in between, and with it its time to live.
    local missing, held = { 'HDEL', key }, { 'HSET', key }
    for i, name in ipairs(names) do
      if old[i] then
        held[#held + 1] = name
        held[#held + 1] = old[i]
        if #held > 1000 then
          undo(unpack(held))
          held = { 'HSET', key }
        end
      else
        missing[#missing + 1] = name
      end
    end
    if #held > 2 then undo(unpack(held)) end
    for from = 3, #missing, 1000 do
      undo('HDEL', key, unpack(missing, from, min(from + 999, #missing)))
    end
  end
  -- Runs a command that changes these fields of a hash; `old` is what they hold, if that is known.
  local function with_fields(key, names, old, ...)
    allow('HDEL')
    if not old then
      old = {}
      for from = 1, #names, 1000 do
        local part = run('HMGET', key, unpack(names, from, min(from + 999, #names)))
        for i, value in ipairs(part) do old[from + i - 1] = value end
      end
    end
    local answer = run(...)
    note(fields_back, key, names, old)
    return answer
  end
  -- The same of one field.
  local function with_field(key, name, command, ...)
    allow('HDEL')
    local old = run('HGET', key, name)
    local answer = run(command, key, name, ...)
    note(field_back, key, name, old)
    return answer
  end

  local function member_back(key, member, old)
    if old then undo('ZADD', key, old, member) else undo('ZREM', key, member) end
  end
  -- Runs a command that changes one member of a sorted set.
  local function with_member(key, member, ...)
    allow('ZADD')
    allow('ZREM')
    local old = run('ZSCORE', key, member)
    local answer = run(...)
    note(member_back, key, member, old)
    return answer
  end

  -- Takes back all that was written since the log had this size; returns the error if something of it failed.
  local function take_back(to)
    failure = nil
    while size > to do
      size = size - 4
      local how, a, b, c = log[size + 1], log[size + 2], log[size + 3], log[size + 4]
      how(a, b, c)
    end
    return failure
  end

  -- Begins an operation; returns where the log stands.
  function guard.begin()
    guard.operation = guard.operation + 1
    return size
  end

  -- All stays: what was put aside goes for good.
  function guard.finish()
    for from = 1, aside, 1000 do
      local names = {}
      for i = from, min(from + 999, aside) do names[#names + 1] = ASIDE .. ':' .. i end
      protected('UNLINK', unpack(names))
    end
  end

  guard.run, guard.allow, guard.undo_by, guard.copy = run, allow, undo_by, copy
  guard.keep_time, guard.put_aside, guard.keep_whole = keep_time, put_aside, keep_whole
  guard.with_field, guard.with_fields, guard.with_member = with_field, with_fields, with_member
  guard.take_back = take_back
  return guard
end)()
