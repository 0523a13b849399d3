-- The keys of the devices that follow %(after_key)s, at most %(most)s. By the primary key of devices.
SELECT device_key FROM devices WHERE device_key > %(after_key)s::int4 ORDER BY device_key LIMIT %(most)s::int8
