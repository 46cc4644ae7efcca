-- Charges all buckets, or none: boltz_core/limits/buckets.py in one round trip, atomic for all processes.
--
-- KEYS: the buckets; each holds the time at which it is full again, and expires then
-- ARGV[1]: the present in seconds; empty for Redis' own clock, so that no web server's matters
-- ARGV[2 ...]: for each bucket the seconds that it takes to fill, and the seconds that this charge takes to come back
-- gives the number of the bucket that refuses (0: none) and the milliseconds until there is room

local TOLERANCE = 1e-5
local now = tonumber(ARGV[1])
if not now then
    local time = redis.call('TIME')
    now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local after, refused, wait = {}, 0, 0
for i = 1, #KEYS do
    local refill, cost = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
    local full_at = tonumber(redis.call('GET', KEYS[i]) or now)
    -- a clock that was set back must not leave a bucket more than empty
    full_at = math.min(math.max(full_at, now), now + refill)
    after[i] = full_at + cost
    local over = after[i] - now - refill
    if over > TOLERANCE and over > wait then
        refused, wait = i, over
    end
end
if refused > 0 then
    return {refused, math.ceil(wait * 1000)}
end
for i = 1, #KEYS do
    local lifetime = math.max(1, math.ceil((after[i] - now) * 1000))
    redis.call('SET', KEYS[i], string.format('%.6f', after[i]), 'PX', lifetime)
end
return {0, 0}
