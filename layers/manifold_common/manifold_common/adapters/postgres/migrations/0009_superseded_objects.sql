-- Objects that the catalog named and names no more. They stay in the store for a while: a dump that was taken before
-- still names them, and the store is copied after the dump. Whatever statement ends a reference is noted by these triggers,
-- in its own transaction; so none is forgotten, and none is removed at once.
CREATE TABLE superseded_objects (
    tenant_id     text COLLATE "C" NOT NULL,
    project_id    text COLLATE "C" NOT NULL,
    generation    bigint NOT NULL,
    commit_id     text COLLATE "C" NOT NULL,
    superseded_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, project_id, commit_id)
);

CREATE INDEX superseded_objects_by_age ON superseded_objects (superseded_at);

CREATE FUNCTION note_superseded_draft() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO superseded_objects (tenant_id, project_id, generation, commit_id, superseded_at)
    VALUES (OLD.tenant_id, OLD.project_id, OLD.draft_generation, OLD.draft_commit_id, now())
    ON CONFLICT (tenant_id, project_id, commit_id) DO UPDATE SET superseded_at = EXCLUDED.superseded_at;
    RETURN NULL;
END
$$;

CREATE TRIGGER sessions_draft_replaced AFTER UPDATE ON sessions FOR EACH ROW
    WHEN (OLD.draft_commit_id IS NOT NULL AND OLD.draft_commit_id IS DISTINCT FROM NEW.draft_commit_id)
    EXECUTE FUNCTION note_superseded_draft();

CREATE TRIGGER sessions_draft_deleted AFTER DELETE ON sessions FOR EACH ROW
    WHEN (OLD.draft_commit_id IS NOT NULL)
    EXECUTE FUNCTION note_superseded_draft();

-- A dump that is loaded into a database that has a catalog already. psql goes on after each error: rows of some tables
-- would mix with what is there, and sequences would go back. A dump's session is known by its empty search path. Its first
-- row, in whichever table, is left out and noted, and from then on the session can only read. Every table gets a trigger
-- for it after the migrations (adapters/postgres/wholeness.py). In an empty database there is none while a dump is loaded:
-- a dump makes them after its rows.
CREATE TABLE refused_loads (
    refused_at timestamptz NOT NULL,
    into_table text NOT NULL
);

CREATE FUNCTION refuse_load() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('default_transaction_read_only') = 'off' THEN
        EXECUTE format('INSERT INTO %I.refused_loads (refused_at, into_table) VALUES (now(), %L)',
                       TG_TABLE_SCHEMA, TG_TABLE_NAME);
        PERFORM set_config('default_transaction_read_only', 'on', false);
        RAISE WARNING 'this database has a catalog already: nothing of the dump is loaded'
            USING HINT = 'Load it into an empty database.';
    END IF;
    RETURN NULL;
END
$$;

-- Saved work of the session was lost, and given up. What a working set elsewhere takes for saved may be its only copy.
ALTER TABLE sessions ADD COLUMN gave_up_draft boolean NOT NULL DEFAULT false;
