-- Make a model version known; the newest version is the highest number.
-- KEYS models.  ARGV name, version, info.
redis.call('HSET', KEYS[1], ARGV[1] .. '/' .. ARGV[2], ARGV[3])
local newest = tonumber(redis.call('HGET', KEYS[1], ARGV[1])) or 0
if tonumber(ARGV[2]) > newest then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return 1
