-- Scores a whole group anew, once for all that asked for it in this epoch.
--
-- KEYS  the group (sorted set)
if not EPOCH[KEYS[1]] then return end
EPOCH[KEYS[1]] = nil
score_again(KEYS[1], redis.call('ZRANGE', KEYS[1], 0, -1))
