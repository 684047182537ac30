-- Say how far a running job has come, tell those who watch it, and hear whether somebody wants it cancelled.
-- KEYS job.  ARGV state (LOADING | RUNNING), fraction, phase, event, inbox prefix.
-- Returns 1 when the job should stop.
local record = redis.call('HMGET', KEYS[1], 'state', 'cancel', 'watchers')
if record[1] ~= 'LOADING' and record[1] ~= 'RUNNING' then
  return 1
end
redis.call('HSET', KEYS[1], 'state', ARGV[1], 'fraction', ARGV[2], 'phase', ARGV[3])
for inbox in string.gmatch(record[3] or '', '%S+') do
  redis.call('PUBLISH', ARGV[5] .. inbox, ARGV[4])
end
return record[2] and 1 or 0
