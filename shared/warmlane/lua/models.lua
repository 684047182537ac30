-- All known models: flat fields and values.
-- KEYS models.
return redis.call('HGETALL', KEYS[1])
