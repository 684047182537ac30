-- Read what suits a model's batches on a kind of device, or keep it.
-- KEYS budgets.  ARGV device and model, tokens or 0.
-- Returns the tokens that are known; 0 for none.
if ARGV[2] ~= '0' then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0)
