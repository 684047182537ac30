-- A worker leaves in order.
-- KEYS workers, worker, paces.  ARGV worker id.
redis.call('DEL', KEYS[2])
redis.call('HDEL', KEYS[3], ARGV[1])
return redis.call('ZREM', KEYS[1], ARGV[1])
