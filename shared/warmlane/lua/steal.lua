-- A worker that has nothing to do takes messages that wait too long in the lane of another, all of one model.
-- KEYS acknowledgements, queue messages, queue list, waiting lanes, paces.  ARGV worker id, most messages, patience (ms), ms
-- that a load takes, most lanes, most messages of a lane to look at, prefix of job records, prefix of home keys, prefix
-- of homes, home TTL (ms), name of a model that the worker holds, ...
-- Returns the messages. What another worker has taken is in no lane any more, and so not touched.
-- A lane is known by the time since which something may wait in it; looked at, by what does.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = {}
for place = 11, #ARGV do
  held[ARGV[place]] = true
end

local function look(id)
  local record = redis.call('HMGET', ARGV[7] .. id, 'queued', 'model')
  return tonumber(record[1] or now), string.match(record[2] or '', '^[^/@]*')
end

-- The model of the first message that has waited too long, if there is one: any, or one that the worker holds.
local function overdue(ids, any)
  for _, id in ipairs(ids) do
    local queued, model = look(id)
    if now - queued >= tonumber(ARGV[3]) and (any or held[model]) then
      return model
    end
  end
end

local function take(list, ids, wanted)
  local taken = {}
  for _, id in ipairs(ids) do
    local _, model = look(id)
    if model == wanted and #taken < tonumber(ARGV[2]) then
      redis.call('LREM', list, 1, id)
      local message = redis.call('HGET', KEYS[2], id)
      if message then -- else it was cancelled
        redis.call('SADD', KEYS[1], id)
        taken[#taken + 1] = message
      end
    end
  end
  if not held[wanted] then -- it takes the model on, as one that a new job is given to
    redis.call('SET', ARGV[8] .. wanted, ARGV[1], 'PX', ARGV[10])
    redis.call('ZADD', ARGV[9] .. ARGV[1], string.format('%.0f', now + ARGV[10]), ARGV[8] .. wanted)
    redis.call('PEXPIRE', ARGV[9] .. ARGV[1], ARGV[10])
  end
  return taken
end

local latest = string.format('%.0f', now - ARGV[3])
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', latest, 'LIMIT', 0, ARGV[5])) do
  -- A load is worth it behind a job that takes longer.
  local stuck = tonumber(redis.call('HGET', KEYS[5], worker) or 0) >= tonumber(ARGV[4])
  local since
  for _, suffix in ipairs({ ':high', '', ':low' }) do
    local list = KEYS[3] .. '@' .. worker .. suffix
    local ids = redis.call('LRANGE', list, 0, ARGV[6] - 1)
    local model = worker ~= ARGV[1] and overdue(ids, stuck)
    if model then
      return take(list, ids, model)
    end
    if ids[1] then
      since = math.min(since or now, (look(ids[1])))
    end
  end
  if since then
    redis.call('ZADD', KEYS[4], string.format('%.0f', since), worker)
  else
    redis.call('ZREM', KEYS[4], worker)
  end
end
return {}
