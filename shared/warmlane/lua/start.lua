-- A worker takes a job up: count the attempt, unless there is nothing left to do.
-- KEYS job.  ARGV worker id, most attempts, record TTL (s).
-- Returns {verdict, attempt, ms to its deadline or false, priority}: run | missing | final | cancelled | late | poison.
local record = redis.call('HMGET', KEYS[1], 'state', 'attempts', 'cancel', 'deadline', 'priority')
local state = record[1]
if not state then
  return {'missing', 0}
end
if state ~= 'QUEUED' and state ~= 'LOADING' and state ~= 'RUNNING' then
  return {'final', 0}
end
if record[3] then
  return {'cancelled', 0}
end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
if record[4] and tonumber(record[4]) <= tonumber(now) then
  return {'late', 0}
end
local attempt = (tonumber(record[2]) or 0) + 1
if attempt > tonumber(ARGV[2]) then
  return {'poison', attempt - 1}
end
redis.call('HSET', KEYS[1], 'state', 'RUNNING', 'attempts', attempt, 'started', now,
  'attempt:' .. attempt, now .. ' ' .. ARGV[1], 'fraction', '0', 'phase', 'running')
redis.call('EXPIRE', KEYS[1], ARGV[3])
return {'run', attempt, record[4] and record[4] - now or false, record[5]}
