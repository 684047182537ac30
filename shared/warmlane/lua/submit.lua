-- Accept a job: its record, its message, a place in a queue, and the bell that wakes a worker; all or nothing.
-- KEYS job, queue list, queue messages, lanes, home, bytes, paces, queues, waiting lanes.
-- ARGV id, message, record TTL (s), deadline (ms) or '', most messages, most bytes, digest, suffix of lists by priority,
--   lane TTL (ms), home TTL (ms), patience (ms), prefix of acknowledgements, their suffix, prefix of homes, bell,
--   bytes of its payload that lie elsewhere, name of the queue, number of warm workers, each worker, number of cold workers, each worker and its models, field, value, ...
-- Returns {1, lane}, {0, blob} when the id is known already (a retry of a call whose reply was lost, or an idempotency
-- key), {-1} when it is known for another job, {-2, messages, bytes} when the queue is full.
-- A lane is a worker's own list, behind the name of the queue's; the two writes are what Dramatiq's `enqueue` does.
local known = redis.call('HGET', KEYS[1], 'digest')
if known then
  return { known == ARGV[7] and 0 or -1, redis.call('HGET', KEYS[1], 'blob') or '' }
end
local waiting = redis.call('HLEN', KEYS[3])
local bytes = waiting > 0 and tonumber(redis.call('GET', KEYS[6]) or 0) or 0
local size = #ARGV[2] + ARGV[16]
-- An empty queue takes whatever a payload may be: it would never be emptier.
if waiting >= tonumber(ARGV[5]) or (waiting > 0 and bytes + size > tonumber(ARGV[6])) then
  return { -2, waiting, bytes }
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function alive(worker)
  local beat = redis.call('ZSCORE', KEYS[4], worker)
  return beat and tonumber(beat) >= now - tonumber(ARGV[9])
end

-- How long (ms) what waits in a worker's lane, and what it has taken and not yet done, will take it.
local function wait(worker)
  local lane = KEYS[2] .. '@' .. worker
  local jobs = redis.call('LLEN', lane) + redis.call('LLEN', lane .. ':high') + redis.call('LLEN', lane .. ':low')
    + redis.call('SCARD', ARGV[12] .. worker .. ARGV[13])
  return jobs * tonumber(redis.call('HGET', KEYS[7], worker) or 1)
end

local function settle(worker)
  redis.call('SET', KEYS[5], worker, 'PX', ARGV[10])
  redis.call('ZADD', ARGV[14] .. worker, now + ARGV[10], KEYS[5])
  redis.call('PEXPIRE', ARGV[14] .. worker, ARGV[10])
end

local at = 18
local warm, cold = {}, {}
for place = 1, tonumber(ARGV[at]) do
  warm[#warm + 1] = ARGV[at + place]
end
at = at + 1 + #warm
local count = tonumber(ARGV[at])
for place = 1, count do
  cold[place] = { ARGV[at + 2 * place - 1], tonumber(ARGV[at + 2 * place]) }
end
at = at + 1 + 2 * count

local home = redis.call('GET', KEYS[5])
if home then
  warm[#warm + 1] = home
end
local lane, least
for _, worker in ipairs(warm) do
  if worker ~= lane and alive(worker) then
    local load = wait(worker)
    if not least or load < least then
      lane, least = worker, load
    end
  end
end
if not lane then
  -- Nobody holds the model: the candidate with the fewest models, those counted that are on their way to it.
  local fewest
  for _, candidate in ipairs(cold) do
    if alive(candidate[1]) then
      redis.call('ZREMRANGEBYSCORE', ARGV[14] .. candidate[1], '-inf', now)
      local models = math.max(candidate[2], redis.call('ZCARD', ARGV[14] .. candidate[1]))
      if not fewest or models < fewest then
        lane, fewest = candidate[1], models
      end
    end
  end
  if lane then
    settle(lane)
  end
elseif least >= tonumber(ARGV[11]) then
  -- A long wait: a second home, if one is far less busy.
  for _, candidate in ipairs(cold) do
    if candidate[1] ~= lane and alive(candidate[1]) and 2 * wait(candidate[1]) < least then
      lane = candidate[1]
      settle(lane)
      break
    end
  end
end

redis.call('HSET', KEYS[1], 'state', 'QUEUED', 'queued', string.format('%.0f', now), 'digest', ARGV[7], 'queue', ARGV[17],
  unpack(ARGV, at))
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[1], 'deadline', string.format('%.0f', now + ARGV[4]))
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
if waiting == 0 then
  redis.call('SADD', KEYS[8], ARGV[17])
end
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
redis.call('SET', KEYS[6], string.format('%.0f', bytes + size))
local place = (lane and '@' .. lane or '')
-- Behind other messages no bell is needed: whoever has room was rung for those, or looks again when it has.
if redis.call('RPUSH', KEYS[2] .. place .. ARGV[8], ARGV[1]) == 1 then
  redis.call('PUBLISH', ARGV[15] .. place, '')
  if lane then -- for who has nothing to do (steal.lua)
    redis.call('ZADD', KEYS[9], 'NX', string.format('%.0f', now), lane)
  end
end
return { 1, lane or '' }
