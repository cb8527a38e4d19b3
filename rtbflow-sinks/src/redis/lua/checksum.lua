-- The checksum of a position: text before it, so that what is cut anywhere is found. `checksum.rs` computes the same.
-- A number below 2^32, of which each product is one that a double holds exactly.
local function checksum(field, text)
  local sum, all = 0, field .. ' ' .. text
  for i = 1, #all do sum = (sum * 257 + string.byte(all, i)) % 4294967291 end
  return string.format('%08x', sum)
end
local function sealed(field, text) return '#' .. checksum(field, text) .. ' ' .. text end
-- The position, if it is whole; one that was kept before positions had checksums begins with a number.
local function unsealed(field, held)
  local sum, text = string.match(held, '^#(%x+) (.*)$')
  if not sum then return string.match(held, '^%d.*$') end
  return sum == checksum(field, text) and text or nil
end
