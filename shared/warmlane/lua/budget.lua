-- Read what suits a model's batches on a kind of device, or keep it.
-- KEYS budgets.  ARGV device and model, the padded tokens of a batch and its fixed cost in tokens, or ''.
-- Returns what is known, or ''.
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return redis.call('HGET', KEYS[1], ARGV[1]) or ''
