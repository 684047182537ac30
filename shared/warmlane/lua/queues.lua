-- How much waits: the first of each list tells the age, so that the cost does not grow with what is in it.
-- KEYS dead letters, then of each queue: list, messages, lanes, bytes.  ARGV prefix of a job's record, suffixes of the lists.
-- Returns {number of dead letters, {{waiting, taken, bytes, age of the oldest that waits (ms)}, ...}}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {}
for at = 2, #KEYS, 4 do
  local places = { KEYS[at] }
  for _, worker in ipairs(redis.call('ZRANGE', KEYS[at + 2], 0, -1)) do
    places[#places + 1] = KEYS[at] .. '@' .. worker
  end
  local waiting, since = 0, now
  for _, place in ipairs(places) do
    for suffix = 2, #ARGV do
      local list = place .. ARGV[suffix]
      local first = redis.call('LINDEX', list, 0)
      if first then
        waiting = waiting + redis.call('LLEN', list)
        since = math.min(since, tonumber(redis.call('HGET', ARGV[1] .. first, 'queued') or now))
      end
    end
  end
  local known = redis.call('HLEN', KEYS[at + 1])
  local bytes = known > 0 and tonumber(redis.call('GET', KEYS[at + 3]) or 0) or 0
  found[#found + 1] = { waiting, math.max(0, known - waiting), bytes, now - since }
end
return { redis.call('ZCARD', KEYS[1]), found }
