-- History that ends, and objects that nothing refers to any more (docs/garbage.md).

-- How often objects of the project or of its fork family have been condemned. Places of content that were read at one
-- epoch may be gone at the next: a commit says at which it read them, and is refused where that has passed.
ALTER TABLE projects ADD COLUMN gc_epoch bigint NOT NULL DEFAULT 0 CHECK (gc_epoch >= 0);

-- How often generations were removed or checkpoints replaced: whoever looked at where history begins compares it, and so
-- does whoever is about to condemn what nothing refers to any more.
ALTER TABLE projects ADD COLUMN removals bigint NOT NULL DEFAULT 0 CHECK (removals >= 0);

-- Of a project that leads a fork family: what its last collection saw that found no garbage.
ALTER TABLE projects ADD COLUMN collected bytea;

-- NULL: it is of before its object id was a part of its name.
ALTER TABLE checkpoints ADD COLUMN object_id text COLLATE "C";

-- A generation that retention has removed. Its number, commit and hash stay: whoever has seen it is told that it was
-- removed, and not that history was replaced.
CREATE TABLE removed_commits (
    tenant_id   text COLLATE "C" NOT NULL,
    project_id  text COLLATE "C" NOT NULL,
    generation  bigint NOT NULL,
    commit_id   text COLLATE "C" NOT NULL,
    record_hash bytea NOT NULL,
    request_id  text COLLATE "C",
    created_at  timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    removed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, project_id, generation),
    FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);

CREATE INDEX removed_commits_request ON removed_commits (request_id, tenant_id, project_id)
    WHERE request_id IS NOT NULL;
CREATE INDEX removed_commits_recorded ON removed_commits (project_id, tenant_id, recorded_at);

-- The generation before a kept one may be removed: that a commit follows another is what the commit point sees to.
ALTER TABLE commits DROP CONSTRAINT commits_parent;

-- What a session or its draft stands on stays. Rows of before are not looked at, and hold it all the same.
ALTER TABLE sessions
    ADD CONSTRAINT sessions_base FOREIGN KEY (tenant_id, project_id, base_commit_id)
        REFERENCES commits (tenant_id, project_id, commit_id) NOT VALID,
    ADD CONSTRAINT sessions_draft_base FOREIGN KEY (tenant_id, project_id, draft_parent_id)
        REFERENCES commits (tenant_id, project_id, commit_id) NOT VALID;

-- Objects that nothing was found to refer to. Suspected first, so that what begins to refer to them at that moment is
-- seen; condemned once they were looked for again, and removed from the store after the grace.
CREATE TABLE condemned_objects (
    tenant_id    text COLLATE "C" NOT NULL,
    project_id   text COLLATE "C" NOT NULL,
    object       text COLLATE "C" NOT NULL, -- its key below the project's folder
    bytes        bigint NOT NULL CHECK (bytes >= 0),
    reason       text NOT NULL,
    suspected_at timestamptz NOT NULL DEFAULT now(),
    condemned_at timestamptz,
    PRIMARY KEY (tenant_id, project_id, object)
);

CREATE INDEX condemned_objects_by_age ON condemned_objects (condemned_at) WHERE condemned_at IS NOT NULL;

-- How long history is kept. NULL: as the deployment says.
ALTER TABLE projects
    ADD COLUMN retention_generations integer CHECK (retention_generations >= 0),
    ADD COLUMN retention_days integer CHECK (retention_days >= 0);

-- Copies of this catalog that somebody may go back to: what was condemned or superseded since one was declared stays.
CREATE TABLE declared_backups (
    name        text COLLATE "C" PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 100),
    declared_at timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    CHECK (expires_at > declared_at)
);
