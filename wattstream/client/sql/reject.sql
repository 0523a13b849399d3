-- Notes a rejected reading; the time in Unix seconds.
INSERT INTO rejected (rejected_at, reading, field, reason, message) VALUES (?, ?, ?, ?, ?)
