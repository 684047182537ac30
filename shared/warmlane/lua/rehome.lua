-- Empty the lanes of workers that do not serve any more into the queue that all of its workers serve.
-- KEYS queue list, lanes, paces.  ARGV lane TTL (ms), bell, worker that leaves now or ''.
-- Returns how many messages found a new place.
local time = redis.call('TIME')
local oldest = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[1]
local gone = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. string.format('%.0f', oldest))
if ARGV[3] ~= '' then
  gone[#gone + 1] = ARGV[3]
end
local moved = 0
for _, worker in ipairs(gone) do
  for _, suffix in ipairs({ '', ':high', ':low' }) do
    while redis.call('LMOVE', KEYS[1] .. '@' .. worker .. suffix, KEYS[1] .. suffix, 'LEFT', 'RIGHT') do
      moved = moved + 1
    end
  end
  redis.call('ZREM', KEYS[2], worker)
  redis.call('HDEL', KEYS[3], worker)
end
if moved > 0 then
  redis.call('PUBLISH', ARGV[2], '')
end
return moved
