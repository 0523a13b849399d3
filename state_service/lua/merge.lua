-- Makes the reading in ARGV the state of the device at KEYS[1], unless the state there is as new or newer.
-- ARGV: field, value, field, value and so on, of which the first is recorded_at_us (microseconds since 1970, below 2^53,
-- so that a double holds it exactly).
-- Answers 1: it is the state now; 2: this very reading was the state already; 0: the state is another, as new or newer.
-- No index: one key, replaced as a whole, so that it runs on a cluster as on one server.
local there = redis.call('HGET', KEYS[1], ARGV[1])
if there then
  local newer_by = tonumber(ARGV[2]) - tonumber(there)
  if newer_by < 0 then
    return 0
  end
  if newer_by == 0 then
    for i = 1, #ARGV, 2 do
      if redis.call('HGET', KEYS[1], ARGV[i]) ~= ARGV[i + 1] then
        return 0
      end
    end
    return 2
  end
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV))
return 1
