-- Where a session is. A working set that it has left, on another machine, must neither publish nor replace its draft.
ALTER TABLE sessions ADD COLUMN working_set_id text COLLATE "C";
