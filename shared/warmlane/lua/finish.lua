-- Commit a job's outcome, once: only the first final state counts.
-- KEYS job, result.  ARGV state, result or '', error or '', result TTL (s), event, inbox prefix.
-- Returns 1 when this call made it final, 0 when it was final before or its record is gone.
local record = redis.call('HMGET', KEYS[1], 'state', 'inboxes')
local state = record[1]
if state ~= 'QUEUED' and state ~= 'LOADING' and state ~= 'RUNNING' then
  return 0
end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HSET', KEYS[1], 'state', ARGV[1], 'finished', now)
if ARGV[1] == 'SUCCEEDED' then
  redis.call('HSET', KEYS[1], 'fraction', '1', 'phase', 'done')
end
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], 'error', ARGV[3])
end
if ARGV[2] ~= '' then
  redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[4])
end
-- The record outlives its result by as long again, so that a late caller hears "expired" and not "never was".
redis.call('EXPIRE', KEYS[1], 2 * ARGV[4])
for inbox in string.gmatch(record[2] or '', '%S+') do
  redis.call('PUBLISH', ARGV[6] .. inbox, ARGV[5])
end
return 1
