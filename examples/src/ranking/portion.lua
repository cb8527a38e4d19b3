-- Scores a portion of a group that is too large to be scored in one step. The new ranking grows beside the one that is
-- read and takes its place when it is whole.
--
-- KEYS  the groups that are to be scored (set)
-- ARGV  campaigns in a portion
--
-- Returns 1 if there is more to do.
local group, most = redis.call('SRANDMEMBER', KEYS[1]), tonumber(ARGV[1])
if not group then return 0 end
local BESIDE, REACHED = beside(group), reached(group)

-- Compares byte by byte, as a sorted set does where scores are equal: `<` would ask the server's locale.
local function text_before(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- How many of the group stand before the next portion. Whatever has changed its score meanwhile is in the new ranking;
-- all others stand in the same order as before.
local function before()
  local last = redis.call('HMGET', REACHED, 'score', 'campaign')
  local count = redis.pcall('ZCARD', group)
  -- Somebody else has made something else of it.
  if type(count) ~= 'number' then return end
  if not last[2] then return 0 end
  local score, low, high = tonumber(last[1]), 0, count
  while low < high do
    local middle = math.floor((low + high) / 2)
    local found = redis.call('ZRANGE', group, middle, middle, 'WITHSCORES')
    local other = tonumber(found[2])
    if other > score or (other == score and text_before(last[2], found[1])) then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end

local from = before()
local portion = from and redis.call('ZRANGE', group, from, from + most - 1, 'WITHSCORES') or {}
local scored = {}
for i = 1, #portion, 2 do
  local campaign, score = portion[i], portion[i + 1]
  local key = 'rtb:campaign:' .. campaign
  local held = redis.pcall('HMGET', key, 'bid_price', 'score', 'key')
  local bid_price = tonumber(held[1])
  if bid_price and held[3] == group then
    score = score_of(campaign, bid_price)
    if score ~= held[2] then redis.call('HSET', key, 'score', score) end
  end
  scored[i], scored[i + 1] = score, campaign
end
put({ BESIDE }, scored)
if #portion == 2 * most then
  redis.call('HSET', REACHED, 'score', portion[#portion], 'campaign', portion[#portion - 1])
  return 1
end

if from and redis.call('EXISTS', BESIDE) == 1 then
  -- Not by RENAME alone: that would free what was there at once.
  redis.call('UNLINK', group)
  redis.call('RENAME', BESIDE, group)
end
redis.call('UNLINK', BESIDE, REACHED)
redis.call('SREM', KEYS[1], group)
return redis.call('EXISTS', KEYS[1])
