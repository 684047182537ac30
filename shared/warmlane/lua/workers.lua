-- The live workers. Forgets those whose last beat is older than the TTL.
-- KEYS workers.  ARGV prefix of a worker's key, TTL (ms).
local time = redis.call('TIME')
local oldest = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. oldest)
local infos = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local info = redis.call('GET', ARGV[1] .. id)
  if info then
    infos[#infos + 1] = info
  end
end
return infos
