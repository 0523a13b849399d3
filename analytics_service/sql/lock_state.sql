-- Holds log_from and the set of partitions as they are, until the end of the transaction: else a partition that is made
-- meanwhile could get readings of hours that are passed without a note. By the primary key of rollup_state.
SELECT log_from FROM rollup_state FOR UPDATE
