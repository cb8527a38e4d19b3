-- Removes a part of the state of a job that is being forgotten, so that no call keeps others waiting for long.
--
-- KEYS  tasks with state (set)
-- ARGV  what the key of a task's index begins with, most buckets to remove
-- Returns how many tasks are left.
local task = redis.call('SRANDMEMBER', KEYS[1])
if not task then return 0 end
local index = ARGV[1] .. task
local buckets = redis.call('ZRANGE', index, 0, ARGV[2] - 1)
for _, bucket in ipairs(buckets) do
  redis.call('UNLINK', index .. ':' .. bucket)
end
if #buckets > 0 then redis.call('ZREM', index, unpack(buckets)) end
if redis.call('EXISTS', index) == 0 then redis.call('SREM', KEYS[1], task) end
return redis.call('SCARD', KEYS[1])
