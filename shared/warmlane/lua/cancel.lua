-- Cancel a job: at once while it waits, else by a flag that its worker reads.
-- KEYS job.  ARGV error, result TTL (s) unless the job has its own, event, inbox prefix, prefix of queues, job id.
-- Returns the state after the call, or '' for an unknown job.
local record = redis.call('HMGET', KEYS[1], 'state', 'inboxes', 'ttl', 'queue', 'payload')
local state = record[1]
if not state then
  return ''
end
if state == 'RUNNING' or state == 'LOADING' then
  redis.call('HSET', KEYS[1], 'cancel', '1')
  return state
end
if state ~= 'QUEUED' then
  return state
end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
if record[4] then
  -- Its message makes room at once. Its id stays in its list, where who takes it finds no message.
  local queue = ARGV[5] .. record[4]
  local size = redis.call('HSTRLEN', queue .. '.msgs', ARGV[6])
  if redis.call('HDEL', queue .. '.msgs', ARGV[6]) == 1 then
    redis.call('DECRBY', queue .. '.bytes', size + (record[5] or 0))
    redis.call('HDEL', KEYS[1], 'payload')
  end
end
redis.call('HSET', KEYS[1], 'state', 'CANCELLED', 'finished', now, 'cancel', '1', 'error', ARGV[1])
redis.call('EXPIRE', KEYS[1], 2 * (record[3] or ARGV[2]))
for inbox in string.gmatch(record[2] or '', '%S+') do
  redis.call('PUBLISH', ARGV[4] .. inbox, ARGV[3])
end
return 'CANCELLED'
