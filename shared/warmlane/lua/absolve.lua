-- A worker's process ends in order: what it still ran goes back to its queue, is not to blame, and has not lost a worker.
-- KEYS running jobs.  ARGV prefix of job records.
for _, id in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if redis.call('EXISTS', ARGV[1] .. id) == 1 then
    redis.call('HINCRBY', ARGV[1] .. id, 'returned', 1)
  end
end
return redis.call('DEL', KEYS[1])
