-- Answers the id of the content of this store: the mark at KEYS[1], made of ARGV[1] where there is none, and the id of
-- this run of the server. A flush takes the mark away. A restart or a failover, which may lose the last writes, changes
-- the run.
-- No index: one key.
local mark = redis.call('GET', KEYS[1])
if not mark then
  mark = ARGV[1]
  redis.call('SET', KEYS[1], mark)
end
return mark .. (string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') or '')
