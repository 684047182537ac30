-- Add a piece to the text of a running job, wake those who follow it, and hear whether somebody wants it cancelled.
-- KEYS job, stream.  ARGV attempt, piece, TTL (s), event, inbox prefix.
-- Returns 1 when the job should stop. An attempt that a later one has overtaken writes nothing, and may end as it will.
local record = redis.call('HMGET', KEYS[1], 'state', 'attempts', 'cancel', 'inboxes')
if record[1] ~= 'LOADING' and record[1] ~= 'RUNNING' then
  return 1
end
if record[2] ~= ARGV[1] then
  return 0
end
redis.call('XADD', KEYS[2], '*', 'piece', ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[3])
for inbox in string.gmatch(record[4] or '', '%S+') do
  redis.call('PUBLISH', ARGV[5] .. inbox, ARGV[4])
end
return record[3] and 1 or 0
