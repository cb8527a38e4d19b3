-- One epoch: compare the positions, then apply operations and chunks of state, then move the positions.
--
-- A script is atomic to its readers but is not rolled back. So the first write is one that changes nothing and
-- that the server refuses where it is out of memory, read-only or unable to persist (it refuses no later one for
-- that), each further write notes what undoes it, and the positions move last: either all is there, or nothing is.
--
-- KEYS  positions (hash), index of the task's state (sorted set), tasks with state (set), what the names of
--       keys begin with that are put aside while the script runs, positions as they stood when another owner
--       claimed them last (hash)
-- ARGV  task, most refusals reported,
--       partitions, { partition, mark before, mark after, position after } ...
--       chunks,     { change, bucket, bytes } ...
--       then        { operation, number of arguments, argument ... } ...; before the operations of a row that
--       goes by itself `row`, and before others that come behind such ones `rows`, without arguments
--
-- Returns what became of the epoch and
--       committed: what was found out about records; applied: the same
--       refused: { number of the operation, reason } ..., nothing was applied
--       unable: the server's error, command and key, nothing was applied
--       broken: two errors, something was applied and could not be taken back
--
-- Numbers of the caller stay text: a Lua number is a double. Only counts of arguments, the two sides of a ratio,
-- and sums that a double holds exactly are converted.
local ARGV, call = ARGV, redis.call
local match, byte, format = string.match, string.byte, string.format
local unpack, min, tonumber, type = unpack, math.min, tonumber, type
local POSITIONS, INDEX, TASKS = KEYS[1], KEYS[2], KEYS[3]
local run, allow, undo_by = guard.run, guard.allow, guard.undo_by
local keep_time, with_field, with_fields = guard.keep_time, guard.with_field, guard.with_fields
local with_member, copy = guard.with_member, guard.copy

-- Compares byte by byte: `<` would ask the server's locale.
local function text_before(a, b)
  for i = 1, min(#a, #b) do
    local x, y = byte(a, i), byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- Whether version `a` is older than `b`: integers by value, RFC 3339 times in UTC by time, anything
-- else as text. Without its Z a time sorts as text, with and without milliseconds, and a year of more
-- digits is the later one.
local function before(a, b)
  if a == b then return false end
  local sign_a, digits_a = match(a, '^(%-?)0*(%d+)$')
  local sign_b, digits_b = match(b, '^(%-?)0*(%d+)$')
  if digits_a and digits_b then
    if sign_a ~= sign_b then return sign_a == '-' end
    if sign_a == '-' then digits_a, digits_b = digits_b, digits_a end
    if #digits_a ~= #digits_b then return #digits_a < #digits_b end
    return text_before(digits_a, digits_b)
  end
  local year_a, year_b = match(a, '^(%d+)%-'), match(b, '^(%d+)%-')
  if year_a and year_b and #year_a ~= #year_b then return #year_a < #year_b end
  return text_before((match(a, '^(.*)Z$')) or a, (match(b, '^(.*)Z$')) or b)
end

-- How records ended of which a function found out here that they are not used for a result.
local CLASSES = { 'filtered', 'late', 'duplicate', 'dead-lettered' }
local found, any_found = { filtered = 0, late = 0, duplicate = 0, ['dead-lettered'] = 0 }, false

-- What the sinks stage. Each takes the index of its first argument and how many there are; the first
-- argument names what it works on.
local operations = {}

function operations.increment(at) -- key, field, amount
  with_field(ARGV[at], ARGV[at + 1], 'HINCRBY', ARGV[at + 2])
end

local function set_fields(key, from, to)
  for first = from, to, 1000 do
    local last, names = min(first + 999, to), {}
    for i = first, last, 2 do names[#names + 1] = ARGV[i] end
    with_fields(key, names, nil, 'HSET', key, unpack(ARGV, first, last))
  end
end

function operations.set(at, count) -- key, { field, value } ...
  set_fields(ARGV[at], at + 1, at + count - 1)
end

function operations.set_if_newer(at, count) -- key, guard, version, { field, value } ...
  local held = run('HGET', ARGV[at], ARGV[at + 1])
  if held and before(ARGV[at + 2], held) then return end
  set_fields(ARGV[at], at + 1, at + count - 1)
end

function operations.remove_field(at) -- key, field
  keep_time(ARGV[at])
  with_field(ARGV[at], ARGV[at + 1], 'HDEL')
end

function operations.expire(at) -- key, milliseconds
  keep_time(ARGV[at])
  run('PEXPIRE', ARGV[at], ARGV[at + 1])
end

function operations.delete(at) -- key
  if run('EXISTS', ARGV[at]) == 1 then guard.put_aside(ARGV[at]) end
end

function operations.add_member(at) -- key, score, member
  with_member(ARGV[at], ARGV[at + 2], 'ZADD', ARGV[at], ARGV[at + 1], ARGV[at + 2])
end

function operations.remove_member(at) -- key, member
  keep_time(ARGV[at])
  with_member(ARGV[at], ARGV[at + 1], 'ZREM', ARGV[at], ARGV[at + 1])
end

-- name, number, whether its record is accounted for, number of keys, key ..., argument ...
function operations.script(at, count)
  local number, keys = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 3])
  local first_argument = at + 4 + keys
  guarded.keys = { unpack(ARGV, at + 4, first_argument - 1) }
  local reply = functions[number](
    { unpack(ARGV, at + 4, first_argument - 1) },
    { unpack(ARGV, first_argument, at + count - 1) })
  if type(reply) == 'table' and reply.err then error(reply, 0) end
  if found[reply] and ARGV[at + 2] == '1' then
    found[reply], any_found = found[reply] + 1, true
  end
end

-- The layout of the merge_hash operations that follow: names of the added fields, names of the set
-- fields, ratios { name, dividend, divisor, format }, which set field is the guard (0: none), the time
-- to live in milliseconds (0: for ever).
local layout
function operations.merge_layout(at)
  layout = nil
  local next = at + 1
  local function take()
    next = next + 1
    return ARGV[next - 1]
  end
  local made = { adds = {}, sets = {}, ratios = {}, names = {} }
  local function named(name)
    made.names[#made.names + 1] = name
    return name
  end
  for i = 1, tonumber(take()) do made.adds[i] = named(take()) end
  for i = 1, tonumber(take()) do made.sets[i] = named(take()) end
  for i = 1, tonumber(take()) do
    made.ratios[i] = { name = named(take()), dividend = tonumber(take()), divisor = tonumber(take()),
      format = '%.' .. take() .. 'f' }
  end
  made.guard = tonumber(take())
  made.time_to_live = take()
  layout = made
end

-- The sum of two integers, if a double holds all three exactly.
local EXACT = 2 ^ 53
local function plain_sum(held, amount)
  if held and not match(held, '^%-?%d+$') then return end
  local a, b = tonumber(held or '0'), tonumber(amount)
  local sum = a + b
  if a > -EXACT and a < EXACT and b > -EXACT and b < EXACT and sum > -EXACT and sum < EXACT then return sum end
end

-- Copies a merged hash to the key of the newest, unless that holds a newer one.
local function copy_newest(key, newest, version)
  local held = run('HGET', newest, layout.sets[layout.guard])
  if held and before(version, held) then return end
  if held then guard.put_aside(newest) end
  if not copy(key, newest) then
    guard.put_aside(newest)
    copy(key, newest)
  end
end

function operations.merge_hash(at) -- key, key of the newest or '', amount ..., value ...
  local key, newest = ARGV[at], ARGV[at + 1]
  local old = #layout.names > 0 and run('HMGET', key, unpack(layout.names)) or {}
  local totals, values, count = {}, { 'HSET', key }, 2
  local function set(name, value)
    values[count + 1], values[count + 2] = name, value
    count = count + 2
  end
  for i, name in ipairs(layout.adds) do
    local amount = ARGV[at + 1 + i]
    local sum = plain_sum(old[i], amount)
    totals[i] = sum or with_field(key, name, 'HINCRBY', amount)
    if sum then set(name, format('%d', sum)) end
  end
  local values_at = at + 1 + #layout.adds
  for i, name in ipairs(layout.sets) do set(name, ARGV[values_at + i]) end
  for _, ratio in ipairs(layout.ratios) do
    local dividend, divisor = totals[ratio.dividend], totals[ratio.divisor]
    set(ratio.name, format(ratio.format, divisor == 0 and 0 or dividend / divisor))
  end
  if count > 2 then with_fields(key, layout.names, old, unpack(values)) end
  if layout.time_to_live ~= '0' then
    keep_time(key)
    run('PEXPIRE', key, layout.time_to_live)
  end
  if newest ~= '' then copy_newest(key, newest, ARGV[values_at + layout.guard]) end
end

-- 1. Where does the place stand? All partitions of a task move together.
local at = 3
local partitions, verdict, found_before = tonumber(ARGV[at]), nil, ''
at = at + 1
for i = 0, partitions - 1 do
  local held = call('HGET', POSITIONS, ARGV[at + 4 * i])
  if held then
    local text = unsealed(ARGV[at + 4 * i], held)
    if not text then return { 'damaged', POSITIONS, ARGV[at + 4 * i], held } end
    held = text
  end
  local mark = held and match(held, '^%d+ %d+')
  if i == 0 then found_before = held and match(held, '^%S+ %S+ %S+ %S+ (.+)$') or '' end
  local step = 'fenced'
  if mark == ARGV[at + 4 * i + 1] then step = 'apply' elseif mark == ARGV[at + 4 * i + 2] then step = 'applied' end
  if verdict and verdict ~= step then step = 'fenced' end
  verdict = step
  if verdict == 'fenced' then break end
end
if verdict == 'applied' then return { verdict, found_before } end
if verdict ~= 'apply' then
  -- Another has come. It may have come just behind this epoch.
  for i = 0, partitions - 1 do
    local stood = call('HGET', KEYS[5], ARGV[at + 4 * i])
    if stood and not unsealed(ARGV[at + 4 * i], stood) then return { 'damaged', KEYS[5], ARGV[at + 4 * i], stood } end
    stood = stood and unsealed(ARGV[at + 4 * i], stood)
    if not stood or match(stood, '^%d+ %d+') ~= ARGV[at + 4 * i + 2] then return { 'fenced' } end
    if i == 0 then found_before = match(stood, '^%S+ %S+ %S+ %S+ (.+)$') or '' end
  end
  if partitions == 0 then return { 'fenced' } end
  return { 'applied', found_before }
end

-- 2. State must not get lost by a key of ours that somebody else has made something else of.
local positions_at = at
at = at + 4 * partitions
local chunks = tonumber(ARGV[at])
at = at + 1
local function expect(key, kind)
  local found = call('TYPE', key).ok
  return found == 'none' or found == kind or { 'foreign', key, found, kind }
end
if chunks > 0 then
  for key, kind in pairs({ [INDEX] = 'zset', [TASKS] = 'set' }) do
    local found = expect(key, kind)
    if found ~= true then return found end
  end
  for i = 0, chunks - 1 do
    if ARGV[at + 3 * i] == 'append' then
      local found = expect(INDEX .. ':' .. ARGV[at + 3 * i + 1], 'list')
      if found ~= true then return found end
    end
  end
end

-- 3. Whether anything may be written: the positions are written as they stand.
call('HSET', POSITIONS, ARGV[positions_at], call('HGET', POSITIONS, ARGV[positions_at]))

-- 4. The operations. One that fails for what it is does not keep the others from being looked at. Where rows are
-- distinguished, it takes all of its row with it, so that nothing fails because of what is left out.
local reply, refused, last, number = { 'committed', '' }, { 'refused' }, #ARGV, 0
local function operate()
  local at, began, rows, is_left_out = at + 3 * chunks, nil, false, false
  while at <= last do
    local name, count = ARGV[at], tonumber(ARGV[at + 1])
    if name == 'row' or name == 'rows' then
      rows, is_left_out = name == 'row', false
      began = guard.begin()
    elseif name == 'merge_layout' then
      operations.merge_layout(at + 2)
    else
      if not rows then began = guard.begin() end
      local done, why = true, nil
      if not is_left_out then done, why = pcall(operations[name], at + 2, count) end
      if guard.unable then error(why, 0) end
      if not done then
        is_left_out = rows
        why = type(why) == 'table' and why.err or why
        local failure = guard.take_back(began)
        if failure then error({ broken = failure, why = why }, 0) end
        if #refused < 2 * ARGV[2] then
          refused[#refused + 1] = format('%d', number)
          refused[#refused + 1] = tostring(why)
        end
      end
      number = number + 1
    end
    at = at + 2 + count
  end
end

-- 5. State.
local function keep_chunks()
  guard.begin()
  for i = 0, chunks - 1 do
    local change, bucket = ARGV[at + 3 * i], ARGV[at + 3 * i + 1]
    local log = INDEX .. ':' .. bucket
    if change ~= 'append' and run('EXISTS', log) == 1 then guard.put_aside(log) end
    allow('ZADD')
    allow('ZREM')
    if change == 'drop' then
      if run('ZREM', INDEX, bucket) == 1 then undo_by('ZADD', INDEX, 0, bucket) end
    else
      allow('LTRIM')
      run('RPUSH', log, ARGV[at + 3 * i + 2])
      undo_by('LTRIM', log, 0, -2)
      if run('ZADD', INDEX, 0, bucket) == 1 then undo_by('ZREM', INDEX, bucket) end
    end
  end
  if chunks > 0 then
    allow('SADD')
    allow('SREM')
    local there = run('EXISTS', INDEX) == 1
    if run(there and 'SADD' or 'SREM', TASKS, ARGV[1]) == 1 then
      undo_by(there and 'SREM' or 'SADD', TASKS, ARGV[1])
    end
  end
end

local done, why = pcall(function()
  operate()
  if #refused == 1 then keep_chunks() end
end)
if not done or #refused > 1 then
  local failure = guard.take_back(0)
  failure = type(why) == 'table' and why.broken or failure
  local text = tostring(type(why) == 'table' and (why.err or why.why) or why)
  if failure then return { 'broken', text, failure } end
  if guard.unable then return { 'unable', unpack(guard.unable) } end
  if not done then return { 'unable', text, '', '' } end
  return refused
end

-- 6. The positions. What was found out stands behind the first, so that it can be reported again.
local behind = ''
if any_found then
  local counts = {}
  for i, class in ipairs(CLASSES) do counts[i] = format('%d', found[class]) end
  reply[2] = table.concat(counts, ' ')
  behind = ' ' .. reply[2]
end
for i = 0, partitions - 1 do
  local field, text = ARGV[positions_at + 4 * i], ARGV[positions_at + 4 * i + 3] .. (i == 0 and behind or '')
  call('HSET', POSITIONS, field, sealed(field, text))
end
guard.finish()
for _, message in ipairs(guarded.published) do redis.pcall(unpack(message)) end
return reply
