-- Read a job and the pieces of its text behind a cursor, and be told of more: one atomic step, so that no end falls between.
-- KEYS job, stream, result.  ARGV inbox id or '', where to begin as XRANGE has it.
-- Returns {} for an unknown job, else {record as flat fields and values, pieces as XRANGE gives them, 1 if the result is there}.
local record = redis.call('HGETALL', KEYS[1])
if not next(record) then
  return {}
end
local known = redis.call('HMGET', KEYS[1], 'state', 'inboxes')
local state, inboxes = known[1], known[2] or ''
local open = state == 'QUEUED' or state == 'LOADING' or state == 'RUNNING'
if open and ARGV[1] ~= '' and not string.find(' ' .. inboxes .. ' ', ' ' .. ARGV[1] .. ' ', 1, true) then
  redis.call('HSET', KEYS[1], 'inboxes', inboxes .. ' ' .. ARGV[1])
end
return {record, redis.call('XRANGE', KEYS[2], ARGV[2], '+'), redis.call('EXISTS', KEYS[3])}
