-- Nothing of Manifold's may live in a session of the server: a pooler gives each transaction another one.

-- Whose turn it is among writers that contend for a project. Rows end by themselves, and hold nothing that a restart of
-- the server may not forget; so they cost no flush of the log.
CREATE UNLOGGED TABLE commit_turns (
    tenant_id    text COLLATE "C" NOT NULL,
    project_id   text COLLATE "C" NOT NULL,
    holder       text COLLATE "C" NOT NULL,
    leased_until timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, project_id)
);

-- An answer means that the change is flushed, also on a server whose default is not to wait for it. Every table gets a
-- trigger with this function after the migrations (adapters/postgres/wholeness.py).
CREATE FUNCTION commit_durably() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    RETURN NULL;
END
$$;

-- Writes a megabyte beside the server's tables, gone with the statement (adapters/postgres/room.py).
CREATE FUNCTION spill() RETURNS bigint LANGUAGE sql SET work_mem = '64kB'
    AS $$ SELECT count(*) FROM generate_series(1, 60000) $$;
