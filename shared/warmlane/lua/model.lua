-- What is known of one model, and whether a fleet is there that would have told.
-- KEYS models, workers.  ARGV name, version or '', worker TTL (ms), the field that names the version where none is given.
-- Returns {info or false, number of live workers}.
local version = ARGV[2]
if version == '' then
  version = redis.call('HGET', KEYS[1], ARGV[4]) or ''
end
local time = redis.call('TIME')
local oldest = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[3])
return {redis.call('HGET', KEYS[1], ARGV[1] .. '/' .. version), redis.call('ZCOUNT', KEYS[2], oldest, '+inf')}
