-- A worker's process crashed: what it ran becomes suspect, and what it ran alone has done it.
-- KEYS running jobs.  ARGV prefix of job records.
-- Returns how many jobs it ran. A second call for the same life finds nothing.
local ids = redis.call('SMEMBERS', KEYS[1])
for _, id in ipairs(ids) do
  local job = ARGV[1] .. id
  local state = redis.call('HGET', job, 'state')
  if state == 'QUEUED' or state == 'LOADING' or state == 'RUNNING' then
    if #ids == 1 then
      redis.call('HINCRBY', job, 'crashes', 1)
    else
      redis.call('HSETNX', job, 'crashes', 1) -- in company it may have been any of them, however often
    end
  end
end
redis.call('DEL', KEYS[1])
return #ids
