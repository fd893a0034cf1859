-- Takes tokens from one bucket, on the server's clock, in integers.
-- KEYS[1]: the bucket. A missing bucket is a full one.
-- ARGV: capacity, units of one token, units that come in a microsecond, units to take.
-- Answers the units left, or -1 - the units there are if they are too few.
local capacity, token = tonumber(ARGV[1]), tonumber(ARGV[2])
local supply, cost = tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local units = capacity
local state = redis.call('GET', KEYS[1])
if state then
  if #state ~= 24 then
    return redis.error_reply('FOREIGNVALUE the key of a flow bucket holds something else')
  end
  local held, since, held_token = struct.unpack('<ddd', state)
  -- Somebody uses the bucket with another rate: as many tokens, counted in our units.
  if held_token ~= token then held = math.floor(held / held_token * token) end
  units = math.min(held, capacity)
  -- A clock that went back supplies nothing, and goes on from there.
  local elapsed = math.max(now - since, 0)
  if elapsed >= (capacity - units) / supply then
    units = capacity
  else
    units = math.min(units + elapsed * supply, capacity)
  end
end
if units < cost then return -1 - units end
if cost > 0 then
  units = units - cost
  -- A full bucket need not be remembered, so the key lives until then.
  local full_in = math.ceil((capacity - units) / supply / 1000) + 1
  redis.call('SET', KEYS[1], struct.pack('<ddd', units, now, token), 'PX', full_in)
end
return units
