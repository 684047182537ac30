-- Messages that a worker has in hand come back. Each is the first of its priority in the queue: it has waited longest.
-- KEYS acknowledgements, queue list, queue messages, heartbeats.  ARGV prefix of job records, bell, worker that is gone
-- or '', id, ...
-- Returns how many came back; of a worker that is gone, all that it had.
local taken = { unpack(ARGV, 4) }
if ARGV[3] ~= '' then
  taken = redis.call('SMEMBERS', KEYS[1])
  redis.call('ZREM', KEYS[4], ARGV[3])
end
local suffixes = { high = ':high', low = ':low' }
local back = {}
for place, id in ipairs(taken) do
  if redis.call('SREM', KEYS[1], id) == 1 and redis.call('HEXISTS', KEYS[3], id) == 1 then
    local record = redis.call('HMGET', ARGV[1] .. id, 'priority', 'queued')
    -- What has no record was never accepted, and comes behind what was.
    back[#back + 1] = { id, suffixes[record[1]] or '', tonumber(record[2]) or math.huge, place }
  end
end
table.sort(back, function(one, other)
  if one[3] ~= other[3] then
    return one[3] > other[3]
  end
  return one[4] > other[4]
end)
for _, message in ipairs(back) do
  redis.call('LPUSH', KEYS[2] .. message[2], message[1])
end
if #back > 0 then
  redis.call('PUBLISH', ARGV[2], '')
end
return #back
