-- Removes those of some keys that are what a pattern says; or merely counts them.
--
-- KEYS  found by their names
-- ARGV  type, a field that a hash has to have or '', whether to remove them
-- Returns how many there are.
local count = 0
for _, key in ipairs(KEYS) do
  if redis.call('TYPE', key).ok == ARGV[1] and (ARGV[2] == '' or redis.call('HEXISTS', key, ARGV[2]) == 1) then
    if ARGV[3] == '1' then redis.call('UNLINK', key) end
    count = count + 1
  end
end
return count
