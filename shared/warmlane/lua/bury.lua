-- Keep the message of a job that fails for no fault of its caller, beside the queue; it is acknowledged afterwards.
-- KEYS job, queue messages, dead letters, this letter.  ARGV message id, error code, TTL (s), most letters, most bytes,
-- prefix of letters.
-- Returns 1, or 0 when there is no such message. The oldest letters make room.
local message = redis.call('HGET', KEYS[2], ARGV[1])
if not message then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2] -- two in one millisecond have an order
local record = redis.call('HMGET', KEYS[1], 'kind', 'model')
redis.call('HSET', KEYS[4], 'message', message, 'code', ARGV[2], 'kind', record[1] or '', 'model', record[2] or '')
redis.call('EXPIRE', KEYS[4], ARGV[3])
redis.call('ZADD', KEYS[3], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', string.format('(%.0f', now - ARGV[3] * 1000000))
local count, bytes = 0, 0
for _, id in ipairs(redis.call('ZREVRANGE', KEYS[3], 0, -1)) do
  count, bytes = count + 1, bytes + redis.call('HSTRLEN', ARGV[6] .. id, 'message')
  if count > tonumber(ARGV[4]) or bytes > tonumber(ARGV[5]) then
    redis.call('ZREM', KEYS[3], id)
    redis.call('DEL', ARGV[6] .. id)
  end
end
return 1
