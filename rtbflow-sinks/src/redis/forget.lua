-- Drops all that a job keeps here, other than its results.
--
-- KEYS  positions (hash), tasks with state (set), rejected operations (list)
-- ARGV  what the key of a task's index begins with
for _, task in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  local index = ARGV[1] .. task
  for _, bucket in ipairs(redis.call('ZRANGE', index, 0, -1)) do
    redis.call('UNLINK', index .. ':' .. bucket)
  end
  redis.call('UNLINK', index)
end
redis.call('UNLINK', unpack(KEYS))
return 'forgotten'
