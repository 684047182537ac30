-- A worker takes messages, from the first list that has some.
-- KEYS acknowledgements, queue messages, heartbeats, list, ...  ARGV most messages, broker id.
-- Returns the messages. An id without one was cancelled while it waited.
-- For each list, what Dramatiq's own `fetch` command does. To take none is to say that one lives.
local time = redis.call('TIME')
redis.call('ZADD', KEYS[3], string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), ARGV[2])
local room, taken = tonumber(ARGV[1]), {}
local looks = 10000 -- then the server has time for others, where so many were cancelled
for place = 4, #KEYS do
  local ids = room > #taken and redis.call('LPOP', KEYS[place], room - #taken)
  while ids do
    for number, message in ipairs(redis.call('HMGET', KEYS[2], unpack(ids))) do
      if message then
        redis.call('SADD', KEYS[1], ids[number])
        taken[#taken + 1] = message
      end
    end
    looks = looks - #ids
    ids = looks > 0 and room > #taken and redis.call('LPOP', KEYS[place], room - #taken)
  end
end
return taken
