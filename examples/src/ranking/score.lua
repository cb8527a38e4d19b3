-- What a campaign scores: won per thousand impressions, the bid times the click rate of the newest window, as far as
-- there is one.
local function score_of(campaign, bid_price)
  local metric = redis.pcall('HMGET', 'perf:' .. campaign, 'clicks', 'impressions')
  local clicks, impressions = tonumber(metric[1]) or 0, tonumber(metric[2]) or 0
  return string.format('%.17g', bid_price * 1000 * (clicks + 20) / (impressions + 1000))
end

-- Groups that are too large to be scored anew in one step: which they are (set), what a group will be (sorted set) and
-- how far that is (hash). What changes in such a group meanwhile is written to both.
local PENDING = 'rtbflow:rescore:groups'
local function beside(group) return 'rtbflow:rescore:' .. group end
local function reached(group) return 'rtbflow:rescore:reached:' .. group end

-- Puts scores and campaigns, in turn, into sorted sets.
local function put(sets, scored)
  for from = 1, #scored, 1000 do
    local last = math.min(from + 999, #scored)
    for _, set in ipairs(sets) do redis.call('ZADD', set, unpack(scored, from, last)) end
  end
end

-- Scores these campaigns of the group anew, as far as they stand in it, in the sets that hold it.
local function score_again(group, campaigns, sets)
  local changed = {}
  for _, campaign in ipairs(campaigns) do
    local key = 'rtb:campaign:' .. campaign
    local held = redis.call('HMGET', key, 'bid_price', 'score', 'key')
    local bid_price = tonumber(held[1])
    if bid_price and held[3] == group then
      local score = score_of(campaign, bid_price)
      if score ~= held[2] then
        redis.call('HSET', key, 'score', score)
        changed[#changed + 1] = score
        changed[#changed + 1] = campaign
      end
    end
  end
  put(sets, changed)
end
