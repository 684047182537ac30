-- A worker takes a job up: count the attempt, unless there is nothing left to do or the job has to run alone.
-- KEYS job, running jobs.  ARGV job id, worker id, record TTL (s), most attempts, most crashes, most attempts in company,
-- '1' when nothing else runs in this process or '', event, inbox prefix, name of this request. One that comes twice, because
-- its reply was lost, counts once. An attempt that was given back in order counts for no limit.
-- Returns {verdict, attempts, crashes, ms to its deadline or false, priority or false, ms since it was queued, traceparent}: run | missing |
-- final | cancelled | late | poison | suspect (come back when alone).
local record = redis.call('HMGET', KEYS[1], 'state', 'attempts', 'cancel', 'crashes', 'deadline', 'priority', 'returned',
  'queued', 'watchers', 'traceparent', 'turn')
local state = record[1]
if not state then
  return {'missing', 0, 0}
end
if state ~= 'QUEUED' and state ~= 'LOADING' and state ~= 'RUNNING' then
  return {'final', 0, 0}
end
if record[3] then
  return {'cancelled', 0, 0}
end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
if record[5] and tonumber(record[5]) <= tonumber(now) then
  return {'late', 0, 0}
end
local attempts, crashes = tonumber(record[2]) or 0, tonumber(record[4]) or 0
local lost = attempts - (tonumber(record[7]) or 0)
if record[11] == ARGV[10] then
  return {'run', attempts, crashes, record[5] and record[5] - now or false, record[6], now - (record[8] or now),
    record[10] or ''}
end
if crashes >= tonumber(ARGV[5]) or lost >= tonumber(ARGV[4]) then
  return {'poison', lost, crashes}
end
if ARGV[7] == '' and (crashes > 0 or lost >= tonumber(ARGV[6])) then
  return {'suspect', attempts, crashes}
end
local attempt = attempts + 1
redis.call('HSET', KEYS[1], 'state', 'RUNNING', 'turn', ARGV[10], 'attempts', attempt, 'started', now,
  'attempt:' .. attempt, now .. ' ' .. ARGV[2], 'fraction', '0', 'phase', 'running')
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[3])
for inbox in string.gmatch(record[9] or '', '%S+') do
  redis.call('PUBLISH', ARGV[9] .. inbox, ARGV[8])
end
return {'run', attempt, crashes, record[5] and record[5] - now or false, record[6], now - (record[8] or now),
  record[10] or ''}
