-- What the pipeline's own functions call Redis by: as `redis`, but for what undoes each write being noted, so that a
-- function that fails leaves nothing behind. What it does not know is taken for a write, and the keys are kept whole.
local guarded = (function()
  local error, unpack, type, ipairs, min, upper = error, unpack, type, ipairs, math.min, string.upper
  local run, allow, undo_by = guard.run, guard.allow, guard.undo_by
  local keep_time, put_aside, keep_whole = guard.keep_time, guard.put_aside, guard.keep_whole
  local with_field, with_fields = guard.with_field, guard.with_fields
  local guarded = { published = {} }

  local READS = {}
  for name in string.gmatch([[
    GET MGET STRLEN GETRANGE SUBSTR EXISTS TYPE TTL PTTL EXPIRETIME PEXPIRETIME LCS
    HGET HMGET HGETALL HKEYS HVALS HLEN HEXISTS HSTRLEN HRANDFIELD HSCAN
    LLEN LRANGE LINDEX LPOS SCARD SISMEMBER SMISMEMBER SMEMBERS SRANDMEMBER SINTER SUNION SDIFF SINTERCARD SSCAN
    ZCARD ZCOUNT ZLEXCOUNT ZSCORE ZMSCORE ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX
    ZREVRANGEBYSCORE ZRANK ZREVRANK ZRANDMEMBER ZINTER ZUNION ZDIFF ZINTERCARD ZSCAN
    XLEN XRANGE XREVRANGE XINFO XPENDING BITCOUNT BITPOS GETBIT BITFIELD_RO SORT_RO
    GEODIST GEOHASH GEOPOS GEOSEARCH OBJECT DUMP TIME PING ECHO KEYS SCAN DBSIZE TOUCH MEMORY INFO
  ]], '%S+') do READS[name] = true end

  local WRITES = {}
  local function each(names, write)
    for name in string.gmatch(names, '%S+') do WRITES[name] = write end
  end

  each('HSET HMSET', function(command, key, ...)
    local names = {}
    for i = 1, select('#', ...), 2 do names[#names + 1] = select(i, ...) end
    return with_fields(key, names, nil, command, key, ...)
  end)
  each('HSETNX HINCRBY HINCRBYFLOAT', function(command, key, name, ...)
    return with_field(key, name, command, ...)
  end)
  each('HDEL', function(command, key, ...)
    keep_time(key)
    return with_fields(key, { ... }, nil, command, key, ...)
  end)

  -- Members of a sorted set or of a set: what they were, found by `look`, comes back by `put`, or they go by `take`.
  local function with_members(members, look, put, take, command, key, ...)
    if #members == 0 then return run(command, key, ...) end
    allow(put)
    allow(take)
    if command == take then keep_time(key) end
    local old = {}
    for from = 1, #members, 1000 do
      local part = run(look, key, unpack(members, from, min(from + 999, #members)))
      for i, value in ipairs(part) do old[from + i - 1] = value end
    end
    local answer = run(command, key, ...)
    for i, member in ipairs(members) do
      if not old[i] or old[i] == 0 then
        undo_by(take, key, member)
      elseif put == 'ZADD' then
        undo_by(put, key, old[i], member)
      else
        undo_by(put, key, member)
      end
    end
    return answer
  end
  each('ZADD', function(command, key, ...)
    local all, members, first = { ... }, {}, 1
    while type(all[first]) == 'string' and string.match(upper(all[first]), '^[NXGLTCHIR]+$')
      and not tonumber(all[first]) do first = first + 1 end
    for i = first + 1, #all, 2 do members[#members + 1] = all[i] end
    return with_members(members, 'ZMSCORE', 'ZADD', 'ZREM', command, key, ...)
  end)
  each('ZINCRBY', function(command, key, by, member)
    return with_members({ member }, 'ZMSCORE', 'ZADD', 'ZREM', command, key, by, member)
  end)
  each('ZREM', function(command, key, ...)
    return with_members({ ... }, 'ZMSCORE', 'ZADD', 'ZREM', command, key, ...)
  end)
  each('SADD SREM', function(command, key, ...)
    return with_members({ ... }, 'SMISMEMBER', 'SADD', 'SREM', command, key, ...)
  end)

  each('DEL UNLINK', function(_, ...)
    local gone = 0
    for _, key in ipairs({ ... }) do
      if run('EXISTS', key) == 1 then
        put_aside(key)
        gone = gone + 1
      end
    end
    return gone
  end)
  each('EXPIRE PEXPIRE', function(command, key, time, ...)
    if tonumber(time) and tonumber(time) > 0 then keep_time(key) else keep_whole(key) end
    return run(command, key, time, ...)
  end)
  each('PERSIST', function(command, key)
    keep_time(key)
    return run(command, key)
  end)
  each('INCR INCRBY DECR DECRBY INCRBYFLOAT APPEND', function(command, key, ...)
    allow('SET')
    allow('UNLINK')
    local old = run('GET', key)
    local answer = run(command, key, ...)
    if old then undo_by('SET', key, old, 'KEEPTTL') else undo_by('UNLINK', key) end
    return answer
  end)
  each('RPUSH LPUSH', function(command, key, ...)
    allow('LTRIM')
    local answer, count = run(command, key, ...), select('#', ...)
    if command == 'RPUSH' then undo_by('LTRIM', key, 0, -1 - count) else undo_by('LTRIM', key, count, -1) end
    return answer
  end)
  -- Nobody hears of what may yet be taken back.
  each('PUBLISH', function(...)
    guarded.published[#guarded.published + 1] = { ... }
    return 0
  end)

  -- The keys of the call that is running.
  guarded.keys = {}

  local function whole(command, ...)
    local kept = {}
    local function keep(key)
      if key and not kept[key] then
        kept[key] = true
        keep_whole(key)
      end
    end
    keep((...))
    for _, argument in ipairs({ ... }) do
      for _, key in ipairs(guarded.keys) do
        if key == argument then keep(key) end
      end
    end
    return run(command, ...)
  end

  local function call(command, ...)
    local name = upper(command)
    if READS[name] then return run(name, ...) end
    local write = WRITES[name]
    if write then return write(name, ...) end
    return whole(name, ...)
  end

  -- An error of the data is an answer; one of the server's own is none that a function could go on from.
  local function careful(...)
    local done, answer = pcall(call, ...)
    if done then return answer end
    if guard.unable or type(answer) ~= 'table' then error(answer, 0) end
    return answer
  end

  local api = {}
  for name, value in pairs(redis) do api[name] = value end
  api.call, api.pcall = call, careful
  guarded.api = api
  return guarded
end)()
