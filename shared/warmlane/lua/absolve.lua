-- A worker's process ends in order: nothing of what it still ran is to blame.
-- KEYS running jobs.
return redis.call('DEL', KEYS[1])
