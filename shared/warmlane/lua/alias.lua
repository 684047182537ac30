-- Make known which version an alias means, or that it means none.
-- KEYS models.  ARGV name@alias, version or ''.
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return 1
