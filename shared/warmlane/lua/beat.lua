-- A worker says that it lives and what it holds, and opens its lanes, or closes them.
-- KEYS workers, worker, paces, lanes of a queue, ...  ARGV worker id, info, TTL (ms), 1 when jobs may come into its lanes,
-- ms that a job takes it.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[5])
for place = 4, #KEYS do
  if ARGV[4] == '1' then
    redis.call('ZADD', KEYS[place], now, ARGV[1])
  else
    redis.call('ZREM', KEYS[place], ARGV[1])
  end
end
return 1
