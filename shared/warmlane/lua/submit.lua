-- Accept a job: its record, its Dramatiq message and the bell that wakes a worker, all or nothing.
-- KEYS job, queue list, queue messages.  ARGV bell channel, queue name, message id, message, record TTL (s), field, value, ...
-- Returns 1, or 0 when the id is known already (a retry of a call whose reply was lost).
-- The two writes to the queue are what Dramatiq's own `enqueue` command does.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HSET', KEYS[1], 'state', 'QUEUED', 'queued', now, unpack(ARGV, 6))
redis.call('EXPIRE', KEYS[1], ARGV[5])
redis.call('HSET', KEYS[3], ARGV[3], ARGV[4])
-- Behind other messages no bell is needed: whoever has room was rung for those, or looks again when it has.
if redis.call('RPUSH', KEYS[2], ARGV[3]) == 1 then
  redis.call('PUBLISH', ARGV[1], ARGV[2])
end
return 1
