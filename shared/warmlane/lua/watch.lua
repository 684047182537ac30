-- Read a job, and be told of its end: one atomic step, so that no end falls between the two.
-- KEYS job, result.  ARGV inbox id or '', error of a job that waits past its deadline.
-- Returns {} for an unknown job, else {record as flat fields and values, result or false}.
local known = redis.call('HMGET', KEYS[1], 'state', 'deadline')
local state = known[1]
if not state then
  return {}
end
if state == 'QUEUED' and known[2] then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  if now >= tonumber(known[2]) then
    state = 'EXPIRED'
    redis.call('HSET', KEYS[1], 'state', state, 'finished', known[2], 'error', ARGV[2])
  end
end
local record = redis.call('HGETALL', KEYS[1])
if state == 'QUEUED' or state == 'LOADING' or state == 'RUNNING' then
  local inboxes = redis.call('HGET', KEYS[1], 'inboxes') or ''
  if ARGV[1] ~= '' and not string.find(' ' .. inboxes .. ' ', ' ' .. ARGV[1] .. ' ', 1, true) then
    redis.call('HSET', KEYS[1], 'inboxes', inboxes .. ' ' .. ARGV[1])
  end
  return {record, false}
end
return {record, redis.call('GET', KEYS[2])}
