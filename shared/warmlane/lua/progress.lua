-- Say how far a running job has come, and hear whether somebody wants it cancelled.
-- KEYS job.  ARGV state (LOADING | RUNNING), fraction, phase.
-- Returns 1 when the job should stop.
local record = redis.call('HMGET', KEYS[1], 'state', 'cancel')
if record[1] ~= 'LOADING' and record[1] ~= 'RUNNING' then
  return 1
end
redis.call('HSET', KEYS[1], 'state', ARGV[1], 'fraction', ARGV[2], 'phase', ARGV[3])
return record[2] and 1 or 0
