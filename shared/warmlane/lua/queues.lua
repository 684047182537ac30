-- How much waits: the first of each list tells the age, so that the cost does not grow with what is in it.
-- KEYS dead letters, queues in which there may be jobs.  ARGV prefix of job records, prefix of queues, prefix of lanes,
-- name of a queue that is wanted though it is empty, ...
-- Returns {number of dead letters, {{name, waiting, taken, bytes, age of the oldest that waits (ms)}, ...}}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function places(name)
  local found = { ARGV[2] .. name }
  for _, worker in ipairs(redis.call('ZRANGE', ARGV[3] .. name, 0, -1)) do
    found[#found + 1] = found[1] .. '@' .. worker
  end
  return found
end

-- The first of a list that was not cancelled while it waited. Those before it leave the list, some at a time.
local function first_of(list, messages)
  for _ = 1, 1000 do
    local first = redis.call('LINDEX', list, 0)
    if not first or redis.call('HEXISTS', messages, first) == 1 then
      return first
    end
    redis.call('LPOP', list)
  end
end

local function look(name)
  local waiting, since, messages = 0, now, ARGV[2] .. name .. '.msgs'
  for _, place in ipairs(places(name)) do
    for _, suffix in ipairs({ '', ':high', ':low' }) do
      local first = first_of(place .. suffix, messages)
      if first then
        waiting = waiting + redis.call('LLEN', place .. suffix)
        since = math.min(since, tonumber(redis.call('HGET', ARGV[1] .. first, 'queued') or now))
      end
    end
  end
  local known = redis.call('HLEN', messages)
  waiting = math.min(waiting, known) -- some behind the first may have been cancelled
  local bytes = known > 0 and tonumber(redis.call('GET', ARGV[2] .. name .. '.bytes') or 0) or 0
  return { name, waiting, math.max(0, known - waiting), bytes, now - since }
end

local wanted, found = {}, {}
for place = 4, #ARGV do
  wanted[ARGV[place]] = true
  found[#found + 1] = look(ARGV[place])
end
for _, name in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  if redis.call('EXISTS', ARGV[2] .. name .. '.msgs') == 0 then
    redis.call('SREM', KEYS[2], name)
  elseif not wanted[name] then
    found[#found + 1] = look(name)
  end
end
return { redis.call('ZCARD', KEYS[1]), found }
