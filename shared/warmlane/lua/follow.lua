-- Read a job and the pieces of its text behind a cursor, and be told of more: one atomic step, so that no end falls between.
-- KEYS job, stream, result.  ARGV inbox id or '', where to begin as XRANGE has it, 'watchers' to be told of each change or '',
-- error of a job that waits past its deadline.
-- Returns {} for an unknown job, else {record as flat fields and values, pieces as XRANGE gives them, 1 if the result is there}.
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
    redis.call('HSET', KEYS[1], 'state', state, 'finished', known[2], 'error', ARGV[4])
  end
end
local record = redis.call('HGETALL', KEYS[1])
if ARGV[1] ~= '' and (state == 'QUEUED' or state == 'LOADING' or state == 'RUNNING') then
  for _, field in ipairs({ 'inboxes', ARGV[3] ~= '' and ARGV[3] or nil }) do
    local told = redis.call('HGET', KEYS[1], field) or ''
    if not string.find(' ' .. told .. ' ', ' ' .. ARGV[1] .. ' ', 1, true) then
      redis.call('HSET', KEYS[1], field, told .. ' ' .. ARGV[1])
    end
  end
end
return {record, redis.call('XRANGE', KEYS[2], ARGV[2], '+'), redis.call('EXISTS', KEYS[3])}
