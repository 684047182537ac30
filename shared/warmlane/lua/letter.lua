-- The message of a dead letter.
-- KEYS letter.
-- Returns its bytes, or false when there is none.
return redis.call('HGET', KEYS[1], 'message')
