-- One epoch: compare the positions, then apply positions, chunks of state and operations.
--
-- A script is atomic to its readers but is not rolled back. Therefore everything that may fail the
-- epoch comes before the first write, the first write is itself one that the server refuses when it
-- is out of memory, read-only or unable to persist (it refuses no later one), and what comes after
-- the positions runs under pcall: an operation that fails is reported and does not stop the epoch.
--
-- KEYS  positions (hash), index of the task's state (sorted set), tasks with state (set),
--       rejected operations (list)
-- ARGV  task, most rejected operations kept,
--       partitions, { partition, mark before, mark after, position after } ...
--       chunks,     { change, bucket, bytes } ...
--       then        { operation, number of arguments, argument ... } ...
--
-- Numbers of the caller stay text: a Lua number is a double. Only counts of arguments and the two
-- sides of a ratio are converted.
local ARGV, call, protected = ARGV, redis.call, redis.pcall
local match, sub, byte = string.match, string.sub, string.byte
local unpack, min = unpack, math.min
local POSITIONS, INDEX, TASKS, REJECTED = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

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

local function set_fields(key, from, to)
  for first = from, to, 1000 do
    call('HSET', key, unpack(ARGV, first, min(first + 999, to)))
  end
end

-- What the sinks stage. Each takes the index of its first argument and how many there are; the first
-- argument names what it works on.
local operations = {}

function operations.increment(at) -- key, field, amount
  call('HINCRBY', ARGV[at], ARGV[at + 1], ARGV[at + 2])
end

function operations.set(at, count) -- key, { field, value } ...
  set_fields(ARGV[at], at + 1, at + count - 1)
end

function operations.set_if_newer(at, count) -- key, guard, version, { field, value } ...
  local held = call('HGET', ARGV[at], ARGV[at + 1])
  if held and before(ARGV[at + 2], held) then return end
  set_fields(ARGV[at], at + 1, at + count - 1)
end

function operations.remove_field(at) -- key, field
  call('HDEL', ARGV[at], ARGV[at + 1])
end

function operations.expire(at) -- key, milliseconds
  call('PEXPIRE', ARGV[at], ARGV[at + 1])
end

function operations.delete(at) -- key
  call('UNLINK', ARGV[at])
end

function operations.add_member(at) -- key, score, member
  call('ZADD', ARGV[at], ARGV[at + 1], ARGV[at + 2])
end

function operations.remove_member(at) -- key, member
  call('ZREM', ARGV[at], ARGV[at + 1])
end

-- name, number, whether its record is accounted for, number of keys, key ..., argument ...
function operations.script(at, count)
  local number, keys = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 3])
  local first_argument = at + 4 + keys
  local reply = functions[number](
    { unpack(ARGV, at + 4, first_argument - 1) },
    { unpack(ARGV, first_argument, at + count - 1) })
  if type(reply) == 'table' and reply.err then error(reply) end
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
  local made = { adds = {}, sets = {}, ratios = {} }
  for i = 1, tonumber(take()) do made.adds[i] = take() end
  for i = 1, tonumber(take()) do made.sets[i] = take() end
  for i = 1, tonumber(take()) do
    made.ratios[i] = { name = take(), dividend = tonumber(take()), divisor = tonumber(take()),
      format = '%.' .. take() .. 'f' }
  end
  made.guard = tonumber(take())
  made.time_to_live = take()
  layout = made
end

-- Puts the first `count` added fields back to what they were.
local function undo(key, names, values, count)
  for i = 1, count do
    if values[i] then call('HSET', key, names[i], values[i]) else call('HDEL', key, names[i]) end
  end
end

-- Adds all amounts or none of them and returns the totals.
local function add_all(key, names, at)
  if #names == 0 then return {} end
  local old, totals = call('HMGET', key, unpack(names)), {}
  for i = 1, #names do
    local total = protected('HINCRBY', key, names[i], ARGV[at + i - 1])
    if type(total) == 'table' then
      undo(key, names, old, i - 1)
      error(total)
    end
    totals[i] = total
  end
  return totals
end

function operations.merge_hash(at) -- key, key of the newest or '', amount ..., value ...
  local key, newest = ARGV[at], ARGV[at + 1]
  local totals = add_all(key, layout.adds, at + 2)
  local values_at = at + 1 + #layout.adds
  local fields = {}
  for i, name in ipairs(layout.sets) do
    fields[#fields + 1] = name
    fields[#fields + 1] = ARGV[values_at + i]
  end
  for _, ratio in ipairs(layout.ratios) do
    local dividend, divisor = totals[ratio.dividend], totals[ratio.divisor]
    fields[#fields + 1] = ratio.name
    fields[#fields + 1] = ratio.format:format(divisor == 0 and 0 or dividend / divisor)
  end
  if #fields > 0 then call('HSET', key, unpack(fields)) end
  if layout.time_to_live ~= '0' then call('PEXPIRE', key, layout.time_to_live) end
  if newest ~= '' then
    local held = call('HGET', newest, layout.sets[layout.guard])
    if not held or not before(ARGV[values_at + layout.guard], held) then
      call('COPY', key, newest, 'REPLACE')
    end
  end
end

-- 1. Where does the place stand? All partitions of a task move together.
local at = 3
local partitions, verdict, told_before = tonumber(ARGV[at]), nil, ''
at = at + 1
for i = 0, partitions - 1 do
  local held = call('HGET', POSITIONS, ARGV[at + 4 * i])
  local mark = held and match(held, '^%d+ %d+')
  if i == 0 then told_before = held and match(held, '^%S+ %S+ %S+ %S+ (.+)$') or '' end
  local step = 'fenced'
  if mark == ARGV[at + 4 * i + 1] then step = 'apply' elseif mark == ARGV[at + 4 * i + 2] then step = 'applied' end
  if verdict and verdict ~= step then step = 'fenced' end
  verdict = step
  if verdict == 'fenced' then break end
end
if verdict ~= 'apply' then return { verdict or 'fenced', told_before } end

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

-- 3. The positions: the first write, and the only one that the server may refuse.
for i = 0, partitions - 1 do
  call('HSET', POSITIONS, ARGV[positions_at + 4 * i], ARGV[positions_at + 4 * i + 3])
end

-- 4. State.
for i = 0, chunks - 1 do
  local change, bucket = ARGV[at + 3 * i], ARGV[at + 3 * i + 1]
  local log = INDEX .. ':' .. bucket
  if change ~= 'append' then call('UNLINK', log) end
  if change == 'drop' then
    call('ZREM', INDEX, bucket)
  else
    call('RPUSH', log, ARGV[at + 3 * i + 2])
    call('ZADD', INDEX, 0, bucket)
  end
end
if chunks > 0 then
  call(call('EXISTS', INDEX) == 1 and 'SADD' or 'SREM', TASKS, ARGV[1])
end
at = at + 3 * chunks

-- 5. The operations, each by itself.
local reply, rejected, last = { 'committed', '0', '' }, 0, #ARGV
while at <= last do
  local count = tonumber(ARGV[at + 1])
  local done, why = pcall(operations[ARGV[at]], at + 2, count)
  if not done then
    if type(why) == 'table' then why = why.err end
    rejected = rejected + 1
    if rejected <= 100 then
      local entry = { task = ARGV[1], operation = ARGV[at], key = ARGV[at + 2], error = tostring(why) }
      reply[#reply + 1] = entry.operation
      reply[#reply + 1] = entry.key
      reply[#reply + 1] = entry.error
      protected('RPUSH', REJECTED, cjson.encode(entry))
    end
  end
  at = at + 2 + count
end
if rejected > 0 then protected('LTRIM', REJECTED, '-' .. ARGV[2], -1) end
reply[2] = tostring(rejected)

-- 6. What was found out stands behind the first position, so that it can be told again.
if any_found then
  local counts = {}
  for i, class in ipairs(CLASSES) do counts[i] = string.format('%d', found[class]) end
  reply[3] = table.concat(counts, ' ')
  call('HSET', POSITIONS, ARGV[positions_at], ARGV[positions_at + 3] .. ' ' .. reply[3])
end
return reply
