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
