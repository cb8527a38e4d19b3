-- What a campaign scores: won per thousand impressions, the bid times the click rate of the newest window, as far as
-- there is one.
local function score_of(campaign, bid_price)
  local metric = redis.pcall('HMGET', 'perf:' .. campaign, 'clicks', 'impressions')
  local clicks, impressions = tonumber(metric[1]) or 0, tonumber(metric[2]) or 0
  return string.format('%.17g', bid_price * 1000 * (clicks + 20) / (impressions + 1000))
end

-- Scores these campaigns of the group anew, as far as they stand in it.
local function score_again(group, campaigns)
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
  for from = 1, #changed, 1000 do
    redis.call('ZADD', group, unpack(changed, from, math.min(from + 999, #changed)))
  end
end
