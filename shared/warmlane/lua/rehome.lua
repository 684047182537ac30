-- Empty the lane of a worker that serves a queue no more: what waits there is for all, before what came for all.
-- KEYS queue list, lanes, paces.  ARGV worker id, bell.
-- Returns how many messages found a new place.
local moved = 0
for _, suffix in ipairs({ '', ':high', ':low' }) do
  while redis.call('LMOVE', KEYS[1] .. '@' .. ARGV[1] .. suffix, KEYS[1] .. suffix, 'RIGHT', 'LEFT') do
    moved = moved + 1
  end
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
if moved > 0 then
  redis.call('PUBLISH', ARGV[2], '')
end
return moved
