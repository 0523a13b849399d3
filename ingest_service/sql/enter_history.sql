-- Enters the transaction as one that changes history; answers the start of the UTC hour from which on nothing has to be
-- noted.
SELECT enter_history()
