-- A worker says that it lives and what it holds.
-- KEYS workers, worker.  ARGV worker id, info, TTL (ms).
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[1], now, ARGV[1])
return 1
