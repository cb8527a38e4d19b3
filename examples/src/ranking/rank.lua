-- Puts one version of a campaign into the ranking, in one step that no reader sees half of.
--
-- KEYS  which version stands here (hash), the campaign (hash), the group that it belongs to (sorted set)
-- ARGV  campaign, event time in ms, offset, partition, event time as text, bid price,
--       state (live, waiting, resting, deleted), ms since 1970 from which it is live or '', impact,
--       ms for which a deletion is remembered
--
-- Returns 'late' for a version that is older than the one that stands here.
local VERSION, CAMPAIGN, GROUP = KEYS[1], KEYS[2], KEYS[3]
local id, state, impact = ARGV[1], ARGV[7], ARGV[9]

-- By time, then by offset, then by partition. Equal is the same version again, whose time has come.
local held = redis.call('HMGET', VERSION, 'timestamp', 'offset', 'partition')
for i = 1, 3 do
  local old, new = tonumber(held[i]), tonumber(ARGV[i + 1])
  if not old or new > old then break end
  if new < old then return 'late' end
end

-- The sets that hold a group: the one that is read and, while it is scored anew in portions, what it will be.
local function sets(group)
  EPOCH.sets = EPOCH.sets or {}
  if not EPOCH.sets[group] then
    local is_pending = redis.call('SISMEMBER', PENDING, group) == 1
    EPOCH.sets[group] = is_pending and { group, beside(group) } or { group }
  end
  return EPOCH.sets[group]
end

local stands_in = redis.call('HGET', CAMPAIGN, 'key')
local is_live = state == 'live'
if state == 'waiting' then
  local now = redis.call('TIME')
  is_live = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000) >= tonumber(ARGV[8])
elseif is_live and ARGV[8] ~= '' then
  -- The time of a version that stands here has come: alone, and only if it has not come before.
  if stands_in == GROUP then return end
  impact = 'LOW'
end

local best = {}
if impact == 'MEDIUM' then best = redis.call('ZREVRANGE', GROUP, 0, 9) end

redis.call('HSET', VERSION, 'timestamp', ARGV[2], 'offset', ARGV[3], 'partition', ARGV[4])
if stands_in and not (is_live and stands_in == GROUP) then
  for _, set in ipairs(sets(stands_in)) do redis.call('ZREM', set, id) end
end
if state == 'deleted' then
  redis.call('DEL', CAMPAIGN)
  redis.call('PEXPIRE', VERSION, ARGV[10])
else
  redis.call('PERSIST', VERSION)
  redis.call('HSET', CAMPAIGN, 'bid_price', ARGV[6], 'event_timestamp', ARGV[5])
  if not is_live then redis.call('HDEL', CAMPAIGN, 'key', 'score') end
end

if is_live then
  local score = score_of(id, tonumber(ARGV[6]))
  put(sets(GROUP), { score, id })
  redis.call('HSET', CAMPAIGN, 'key', GROUP, 'score', score)
end
if #best > 0 then score_again(GROUP, best, sets(GROUP)) end
-- All that stands in the group is scored once for the epoch, by the function behind this one.
if impact == 'HIGH' then EPOCH[GROUP] = true end
