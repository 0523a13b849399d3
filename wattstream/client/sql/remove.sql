-- Forgets a reading. Carried by the primary key.
DELETE FROM readings WHERE seq = ?
