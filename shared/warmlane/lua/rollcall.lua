-- A worker says that it serves a queue, and asks who is not heard any more.
-- KEYS heartbeats, lanes, watch, doubt.  ARGV worker id, heartbeat TTL (ms), lane TTL (ms), silence (ms).
-- Returns {workers that may have messages in hand, workers that may have a lane}.
-- Where nobody has asked for a silence, the server may have been away, and have heard no heartbeat of anybody. So for one
-- TTL nobody counts as gone, whoever comes first.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
if redis.call('EXISTS', KEYS[3]) == 0 then
  redis.call('SET', KEYS[4], '', 'PX', ARGV[2])
end
redis.call('SET', KEYS[3], '', 'PX', ARGV[4])
if redis.call('EXISTS', KEYS[4]) == 1 then
  return { {}, {} }
end
return {
  redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - ARGV[2])),
  redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('(%.0f', now - ARGV[3])),
}
