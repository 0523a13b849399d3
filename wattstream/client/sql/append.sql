-- Takes a reading; accepted_at in Unix seconds.
INSERT INTO readings (seq, accepted_at, device, reading) VALUES (?, ?, ?, ?)
