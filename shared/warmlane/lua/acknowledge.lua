-- Let go of a message that is not to be run: its job has ended, or its body is lost.
-- KEYS acknowledgements, queue messages, bytes of the queue's messages, job.  ARGV message id.
-- Returns 1, or 0 when the worker did not have it.
if redis.call('SREM', KEYS[1], ARGV[1]) == 0 then
  return 0
end
local payload = redis.call('HGET', KEYS[4], 'payload') or 0
redis.call('DECRBY', KEYS[3], redis.call('HSTRLEN', KEYS[2], ARGV[1]) + payload)
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
