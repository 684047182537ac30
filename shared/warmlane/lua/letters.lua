-- The dead letters, oldest first, without their messages.
-- KEYS dead letters.  ARGV prefix of letters.
-- Returns {id, time (µs), code, kind, model, bytes} of each. One whose time is over is forgotten.
local found = {}
local listed = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for at = 1, #listed, 2 do
  local letter = ARGV[1] .. listed[at]
  local said = redis.call('HMGET', letter, 'code', 'kind', 'model')
  if said[1] then
    found[#found + 1] = {listed[at], listed[at + 1], said[1], said[2], said[3], redis.call('HSTRLEN', letter, 'message')}
  else
    redis.call('ZREM', KEYS[1], listed[at])
  end
end
return found
