-- What a spool holds. readings: those without an acknowledgement, by number; accepted_at in Unix seconds; the device tells
-- apart whose they are; reading is a serialised Reading. rejected: the newest that the service rejected, and why.
CREATE TABLE readings (
    seq INTEGER PRIMARY KEY, accepted_at REAL NOT NULL, device TEXT NOT NULL, reading BLOB NOT NULL
) STRICT;
CREATE TABLE rejected (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, rejected_at REAL NOT NULL, reading BLOB NOT NULL,
    field TEXT NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL
) STRICT;
