-- One page of a task's state.
--
-- KEYS  index of the task's state (sorted set)
-- ARGV  bucket to begin with ('' for the first), its first chunk, most bytes
-- Returns the bucket to go on with ('' after the last page), its first chunk, { bucket, chunk } ...; or a bucket that has
-- no chunks, and `missing`
local BATCH = 16
local begin, skip, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local reply, bytes = { '', '0' }, 0
local from = begin == '' and '-' or '[' .. begin
while true do
  local buckets = redis.call('ZRANGEBYLEX', KEYS[1], from, '+', 'LIMIT', 0, 64)
  if #buckets == 0 then return reply end
  for _, bucket in ipairs(buckets) do
    local first = bucket == begin and skip or 0
    repeat
      local chunks = redis.call('LRANGE', KEYS[1] .. ':' .. bucket, first, first + BATCH - 1)
      for _, chunk in ipairs(chunks) do
        if #reply > 2 and bytes + #chunk > most then
          reply[1], reply[2] = bucket, tostring(first)
          return reply
        end
        bytes = bytes + #chunk
        reply[#reply + 1] = bucket
        reply[#reply + 1] = chunk
        first = first + 1
      end
    until #chunks < BATCH
    -- A bucket that is listed has chunks, or what names it is damaged.
    if first == 0 then return { bucket, 'missing' } end
  end
  from = '(' .. buckets[#buckets]
end
