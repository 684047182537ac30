-- Keep a conversation's next turn. A job that took the last one in an attempt before takes it again.
-- KEYS conversation.  ARGV turn, job, messages, TTL (s).
-- Returns 1, or 0 when another job took that turn meanwhile.
local known = redis.call('HMGET', KEYS[1], 'turn', 'job')
local turn = tonumber(known[1] or 0)
if known[2] == ARGV[2] then
  turn = turn - 1
end
if turn + 1 ~= tonumber(ARGV[1]) then
  return 0
end
redis.call('HSET', KEYS[1], 'turn', ARGV[1], 'job', ARGV[2], 'messages', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
