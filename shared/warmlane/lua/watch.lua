-- Read a job, and be told of its end: one atomic step, so that no end falls between the two.
-- KEYS job, result.  ARGV inbox id or ''.
-- Returns {} for an unknown job, else {record as flat fields and values, result or false}.
local record = redis.call('HGETALL', KEYS[1])
if not next(record) then
  return {}
end
local state = redis.call('HGET', KEYS[1], 'state')
if state == 'QUEUED' or state == 'LOADING' or state == 'RUNNING' then
  local inboxes = redis.call('HGET', KEYS[1], 'inboxes') or ''
  if ARGV[1] ~= '' and not string.find(' ' .. inboxes .. ' ', ' ' .. ARGV[1] .. ' ', 1, true) then
    redis.call('HSET', KEYS[1], 'inboxes', inboxes .. ' ' .. ARGV[1])
  end
  return {record, false}
end
return {record, redis.call('GET', KEYS[2])}
