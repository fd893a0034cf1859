-- Takes tokens from one bucket, on the server's clock, in integers.
-- KEYS[1]: the bucket. A missing bucket is a full one.
-- ARGV: capacity, units of one token, units that come in a microsecond, units to take.
-- Answers the units left, or -1 - the units there are if they are too few.
local capacity, token = tonumber(ARGV[1]), tonumber(ARGV[2])
local supply, cost = tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local units, keep, back = capacity, 0, false
local state = redis.call('GET', KEYS[1])
if state then
  if #state ~= 48 then
    return redis.error_reply('FOREIGNVALUE the key of a flow bucket holds something else')
  end
  local held, since, held_token, held_capacity, held_supply, held_keep =
    struct.unpack('<dddddd', state)
  keep = held_keep
  if held_token ~= token or held_capacity ~= capacity or held_supply ~= supply then
    -- Somebody uses the bucket with another rate or burst: for neither may it be forgotten
    -- before it is full.
    keep = math.max(keep, held_capacity / held_supply, capacity / supply)
    -- As many tokens, counted in our units.
    if held_token ~= token then held = math.floor(held / held_token * token) end
  end
  units = math.min(held, capacity)
  -- A clock that went back supplies nothing, and goes on from there.
  back = now < since
  local elapsed = math.max(now - since, 0)
  if elapsed >= (capacity - units) / supply then
    units = capacity
  else
    units = math.min(units + elapsed * supply, capacity)
  end
end
local granted = units >= cost
if granted then units = units - cost end
if cost > 0 and (granted or back) then
  -- A full bucket need not be remembered, so the key lives until then.
  local full_in = math.ceil(math.max((capacity - units) / supply, keep) / 1000) + 1
  redis.call('SET', KEYS[1],
    struct.pack('<dddddd', units, now, token, capacity, supply, keep), 'PX', full_in)
end
if granted then return units end
return -1 - units
