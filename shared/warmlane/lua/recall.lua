-- What was said so far in a conversation; it lives on for as long again.
-- KEYS conversation.  ARGV TTL (s).
-- Returns the number of its turns, the job that took the last one, and its messages; 0, '', '' where there is none.
redis.call('EXPIRE', KEYS[1], ARGV[1])
local known = redis.call('HMGET', KEYS[1], 'turn', 'job', 'messages')
return { tonumber(known[1] or 0), known[2] or '', known[3] or '' }
