-- Commit a job's outcome, once, and acknowledge its message: both or neither.
-- KEYS job, result, acknowledgements, queue messages, stream, running jobs, bytes of the queue's messages.  ARGV message
-- id, state, result or '', error or '', result TTL (s) unless the job has its own, event, inbox prefix, numbers of the
-- rows that were cut or ''.
-- Returns 1 when this call made it final, 0 when it was final before or its record is gone.
-- The acknowledgement is what Dramatiq's own `ack` command does.
local record = redis.call('HMGET', KEYS[1], 'state', 'inboxes', 'stream', 'ttl', 'payload')
if redis.call('SREM', KEYS[3], ARGV[1]) > 0 then
  redis.call('DECRBY', KEYS[7], redis.call('HSTRLEN', KEYS[4], ARGV[1]) + (record[5] or 0))
  redis.call('HDEL', KEYS[4], ARGV[1])
end
redis.call('SREM', KEYS[6], ARGV[1])
local state = record[1]
if state ~= 'QUEUED' and state ~= 'LOADING' and state ~= 'RUNNING' then
  return 0
end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local ttl = record[4] or ARGV[5]
redis.call('HSET', KEYS[1], 'state', ARGV[2], 'finished', now)
if ARGV[2] == 'SUCCEEDED' then
  redis.call('HSET', KEYS[1], 'fraction', '1', 'phase', 'done')
end
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[1], 'error', ARGV[4])
end
if ARGV[8] ~= '' then
  redis.call('HSET', KEYS[1], 'truncated', ARGV[8])
end
if ARGV[3] ~= '' then
  redis.call('SET', KEYS[2], ARGV[3], 'EX', ttl)
end
if record[3] then
  redis.call('EXPIRE', KEYS[5], ttl)
end
-- The record outlives its result by as long again, so that a late caller hears "expired" and not "never was".
redis.call('EXPIRE', KEYS[1], 2 * ttl)
for inbox in string.gmatch(record[2] or '', '%S+') do
  redis.call('PUBLISH', ARGV[7] .. inbox, ARGV[6])
end
return 1
