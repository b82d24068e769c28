-- A deleted project can be brought back until its grace is over, and never once it was purged. What is purged is a
-- tombstone: forks refer to it. From now on deleted_at is by this server's clock; what was deleted before by a clock that
-- was ahead counts from now.
UPDATE projects SET deleted_at = least(deleted_at, now()) WHERE deleted_at > now();
ALTER TABLE projects
    ADD COLUMN purged_at timestamptz,
    ADD COLUMN is_cleared boolean NOT NULL DEFAULT false, -- its commits and keys are gone, too
    ADD CONSTRAINT projects_purged CHECK (purged_at IS NULL OR deleted_at IS NOT NULL),
    DROP CONSTRAINT projects_check,
    ADD CONSTRAINT projects_head_named CHECK ((generation = 0 OR purged_at IS NOT NULL) = (head_commit_id IS NULL));

CREATE INDEX projects_deleted_name ON projects (owner_id, tenant_id, name, project_id)
    WHERE deleted_at IS NOT NULL AND purged_at IS NULL;
CREATE INDEX projects_to_purge ON projects (deleted_at) WHERE deleted_at IS NOT NULL AND purged_at IS NULL;
CREATE INDEX projects_to_clear ON projects (purged_at) WHERE purged_at IS NOT NULL AND NOT is_cleared;

-- For each commit that goes, the server looks whether a tag names it.
CREATE INDEX tags_of_generation ON tags (project_id, tenant_id, generation);

-- Under which session's name the scope is sealed, where the session has another one by now.
ALTER TABLE sessions ADD COLUMN scope_session_id text COLLATE "C";

-- Sessions of deleted projects that hold saved work: as they were, out of the way of all that looks at sessions.
CREATE TABLE deleted_sessions (
    tenant_id        text COLLATE "C" NOT NULL,
    user_id          text COLLATE "C" NOT NULL,
    session_id       text COLLATE "C" NOT NULL,
    project_id       text COLLATE "C" NOT NULL,
    base_generation  bigint NOT NULL,
    base_commit_id   text COLLATE "C",
    draft_generation bigint NOT NULL,
    draft_commit_id  text COLLATE "C" NOT NULL,
    draft_parent_id  text COLLATE "C",
    draft_dek_id     text COLLATE "C" NOT NULL,
    draft_bytes      bigint NOT NULL,
    draft_saved_at   timestamptz NOT NULL,
    scope            bytea NOT NULL,
    created_at       timestamptz NOT NULL,
    expires_at       timestamptz NOT NULL,
    working_set_id   text COLLATE "C",
    working_set_node text COLLATE "C",
    durable_at       timestamptz NOT NULL,
    gave_up_draft    boolean NOT NULL,
    scope_session_id text COLLATE "C",
    PRIMARY KEY (tenant_id, user_id, session_id, project_id),
    CONSTRAINT deleted_sessions_project FOREIGN KEY (tenant_id, project_id) REFERENCES projects,
    CONSTRAINT deleted_sessions_draft_key FOREIGN KEY (tenant_id, project_id, draft_dek_id) REFERENCES project_keys
);

CREATE INDEX deleted_sessions_of_project ON deleted_sessions (project_id, tenant_id);

CREATE TRIGGER deleted_sessions_draft_deleted AFTER DELETE ON deleted_sessions FOR EACH ROW
    EXECUTE FUNCTION note_superseded_draft();
