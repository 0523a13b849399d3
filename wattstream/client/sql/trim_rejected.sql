-- Forgets all but the newest rejected readings. Carried by the primary key.
DELETE FROM rejected WHERE seq <= (SELECT max(seq) FROM rejected) - ?
