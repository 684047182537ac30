-- Make a model version unknown; the newest is the highest number that is left. With the last version its aliases go.
-- KEYS models.  ARGV name, version.
redis.call('HDEL', KEYS[1], ARGV[1] .. '/' .. ARGV[2])
local newest, aliases = 0, {}
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, #ARGV[1] + 1) == ARGV[1] .. '/' then
    newest = math.max(newest, tonumber(string.sub(field, #ARGV[1] + 2)))
  elseif string.sub(field, 1, #ARGV[1] + 1) == ARGV[1] .. '@' then
    aliases[#aliases + 1] = field
  end
end
if newest > 0 then
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', newest))
else
  redis.call('HDEL', KEYS[1], ARGV[1], unpack(aliases))
end
return 1
