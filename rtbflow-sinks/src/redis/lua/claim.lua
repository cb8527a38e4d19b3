-- Puts a new owner into the positions of a task and counts one more commit for each.
--
-- Where another owner leaves a position is kept, so that this one can still learn what became of its last epoch.
--
-- KEYS  positions (hash), tasks with state (set), a note that the job is being forgotten, positions as they stood when
--       they were claimed last (hash)
-- ARGV  owner, number of tasks, partition ...
if redis.call('EXISTS', KEYS[3]) == 1 then return { 'forgetting' } end
for _, task in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  if string.match(task, '/(%d+)$') ~= ARGV[2] then return { 'laid out', task } end
end

-- The number after `n`, as text: a Lua number is a double.
local function after(n)
  local head, nines = string.match(n, '^(%d*[0-8])(9*)$')
  if not head then return '1' .. string.rep('0', #n) end
  return string.sub(head, 1, -2) .. string.char(string.byte(head, -1) + 1) .. string.rep('0', #nines)
end

local reply, left = { 'claimed' }, {}
for i = 3, #ARGV do
  local held = redis.call('HGET', KEYS[1], ARGV[i])
  local found = '0 0 - -'
  if held then found = unsealed(ARGV[i], held) end
  if not found then return { 'damaged', ARGV[i], held } end
  local commit, owner, rest, more = string.match(found, '^(%d+) (%d+) (%S+ %S+)(.*)$')
  -- What the last commit found out about records is nothing to the new owner.
  if commit and more ~= '' and not string.match(more, '^ %d+ %d+ %d+ %d+$') then commit = nil end
  if not commit then return { 'foreign', ARGV[i], held } end
  if owner ~= ARGV[1] then left[i] = held or sealed(ARGV[i], found) end
  reply[i - 1] = after(commit) .. ' ' .. ARGV[1] .. ' ' .. rest
end
for i = 3, #ARGV do
  redis.call('HSET', KEYS[1], ARGV[i], sealed(ARGV[i], reply[i - 1]))
  if left[i] then redis.call('HSET', KEYS[4], ARGV[i], left[i]) end
end
return reply
