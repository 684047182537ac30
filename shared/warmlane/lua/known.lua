-- Which jobs have a record, or are dead letters.
-- ARGV prefix of job records, prefix of dead letters, job id, ...
-- Returns their ids.
local known = {}
for at = 3, #ARGV do
  if redis.call('EXISTS', ARGV[1] .. ARGV[at], ARGV[2] .. ARGV[at]) > 0 then
    known[#known + 1] = ARGV[at]
  end
end
return known
