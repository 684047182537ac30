-- A worker takes messages, from the first list that has some.
-- KEYS acknowledgements, queue messages, heartbeats, list, ...  ARGV most messages, broker id.
-- Returns the messages; false for one whose body is lost.
-- For each list, what Dramatiq's own `fetch` command does. To take none is to say that one lives.
local time = redis.call('TIME')
redis.call('ZADD', KEYS[3], string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), ARGV[2])
local room, taken = tonumber(ARGV[1]), {}
for place = 4, #KEYS do
  if room > #taken then
    for _, id in ipairs(redis.call('LPOP', KEYS[place], room - #taken) or {}) do
      redis.call('SADD', KEYS[1], id)
      taken[#taken + 1] = id
    end
  end
end
if #taken == 0 then
  return {}
end
return redis.call('HMGET', KEYS[2], unpack(taken))
