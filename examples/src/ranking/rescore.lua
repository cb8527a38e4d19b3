-- Scores a whole group anew, once for all that asked for it in this epoch. A group that is too large for that is only
-- noted: portion.lua scores it behind the commit.
--
-- KEYS  the group (sorted set)
-- ARGV  campaigns of all groups that one epoch may score
local GROUP = KEYS[1]
if not EPOCH[GROUP] then return end
EPOCH[GROUP] = nil

local left = (EPOCH.left or tonumber(ARGV[1])) - redis.call('ZCARD', GROUP)
if left >= 0 and redis.call('SISMEMBER', PENDING, GROUP) == 0 then
  EPOCH.left = left
  score_again(GROUP, redis.call('ZRANGE', GROUP, 0, -1), { GROUP })
else
  redis.call('SADD', PENDING, GROUP)
  -- What was begun before would miss the metrics of now.
  redis.call('UNLINK', beside(GROUP), reached(GROUP))
end
