-- Forget a dead letter; one that was enqueued again says so in both jobs' records.
-- KEYS dead letters, letter, job, the new job.  ARGV id, id of the new job or ''.
-- Returns 1, or 0 when there was no such letter.
redis.call('ZREM', KEYS[1], ARGV[1])
if ARGV[2] ~= '' then
  if redis.call('EXISTS', KEYS[3]) == 1 then
    redis.call('HSET', KEYS[3], 'replayed_as', ARGV[2])
  end
  if redis.call('EXISTS', KEYS[4]) == 1 then
    redis.call('HSET', KEYS[4], 'replay_of', ARGV[1])
  end
end
return redis.call('DEL', KEYS[2])
