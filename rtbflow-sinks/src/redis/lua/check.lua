-- Whether the user may run commands on keys. Each is run so that it changes nothing: on a key that is not there, or
-- with an argument that it refuses, which the server looks at only after the rights.
--
-- KEYS  a key of one's own that is not there
-- ARGV  { what the names of keys begin with, number of commands, command ... } ...
-- Returns { what the names begin with, command, error } ... for all that are refused
local OWN = KEYS[1]
local SAMPLES = {
  HSET = { 'f', '1', 'f' }, HMSET = { 'f', '1', 'f' }, HGET = { 'f' }, HMGET = { 'f' }, HDEL = { 'f' },
  HINCRBY = { 'f', 'x' }, HINCRBYFLOAT = { 'f', 'x' }, HEXISTS = { 'f' }, PEXPIRE = { 'x' }, EXPIRE = { 'x' },
  ZADD = { 'x', 'm' }, ZINCRBY = { 'x', 'm' }, ZREM = { 'm' }, ZSCORE = { 'm' }, ZMSCORE = { 'm' },
  ZRANGE = { '0', '0' }, ZREVRANGE = { '0', '0' }, ZRANGEBYSCORE = { '0', '0' }, ZRANGEBYLEX = { '-', '+' },
  SREM = { 'm' }, SISMEMBER = { 'm' }, SMISMEMBER = { 'm' }, LTRIM = { '0', '-1' }, LRANGE = { '0', '0' },
  SET = { '1', 'XX' }, INCRBY = { 'x' }, DECRBY = { 'x' }, INCRBYFLOAT = { 'x' },
}
-- On two keys, in turn.
local PAIRS = { COPY = true, RENAME = true }
-- These have no form that changes nothing: they are taken back at once.
local MADE = { SADD = { 'm' }, RPUSH = { 'm' }, LPUSH = { 'm' }, INCR = {}, DECR = {}, APPEND = { 'm' } }

-- On no key.
local KEYLESS = { TIME = true }

local refused = {}
local function is_refused(answer)
  if type(answer) ~= 'table' or not answer.err then return false end
  for _, sign in ipairs({ '^NOPERM', '^OOM ', '^READONLY', '^MISCONF', '^NOREPLICAS', '^MASTERDOWN', '^LOADING',
    'user executing the script can', 'ACL failure', 'nknown %a+ command', 'nknown command' }) do
    if string.find(answer.err, sign) then return true end
  end
  return false
end

local function try(prefix, command, ...)
  local answer = redis.pcall(command, ...)
  if not is_refused(answer) then return true end
  for _, part in ipairs({ prefix, command, answer.err }) do refused[#refused + 1] = part end
  return false
end

local at = 1
while at < #ARGV do
  local prefix, count = ARGV[at], tonumber(ARGV[at + 1])
  local key = prefix .. 'rtbflow:check'
  for i = at + 2, at + 1 + count do
    local command = ARGV[i]
    if KEYLESS[command] then
      try(prefix, command)
    elseif PAIRS[command] then
      if try(prefix, command, key, OWN) then try(prefix, command, OWN, key) end
    elseif MADE[command] then
      if try(prefix, command, key, unpack(MADE[command])) then try(prefix, 'UNLINK', key) end
    else
      try(prefix, command, key, unpack(SAMPLES[command] or {}))
    end
  end
  at = at + 2 + count
end
return refused
