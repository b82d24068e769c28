-- The catalog. Ids are text in the "C" collation: readable in psql, and compared byte by byte, as Python does.
--
-- Second indexes begin with another column than the primary key. On a table that grew since its last ANALYZE the planner
-- would take the two for equally good, and read all of a tenant's projects, or a project's whole history, for one row.

CREATE TABLE tenants (
    tenant_id  text COLLATE "C" PRIMARY KEY,
    created_at timestamptz NOT NULL
);

CREATE TABLE users (
    tenant_id  text COLLATE "C" NOT NULL REFERENCES tenants,
    user_id    text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
);

-- Every commit updates its project's row. No column that a commit changes is indexed and pages keep free space, so
-- that the update stays within the page (HOT) and never touches an index.
CREATE TABLE projects (
    tenant_id          text COLLATE "C" NOT NULL,
    project_id         text COLLATE "C" NOT NULL CHECK (length(project_id) = 26),
    owner_id           text COLLATE "C" NOT NULL,
    name               text COLLATE "C" NOT NULL,
    generation         bigint NOT NULL DEFAULT 0 CHECK (generation >= 0),
    head_commit_id     text COLLATE "C",
    head_hash          bytea NOT NULL DEFAULT '',
    skills_generation  bigint NOT NULL DEFAULT 0,
    tree_bytes         bigint NOT NULL DEFAULT 0 CHECK (tree_bytes >= 0),
    tree_files         bigint NOT NULL DEFAULT 0 CHECK (tree_files >= 0),
    fork_of_project_id text COLLATE "C",
    fork_of_generation bigint CHECK (fork_of_generation >= 0),
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    deleted_at         timestamptz,
    PRIMARY KEY (tenant_id, project_id),
    FOREIGN KEY (tenant_id, owner_id) REFERENCES users,
    FOREIGN KEY (tenant_id, fork_of_project_id) REFERENCES projects,
    CHECK ((generation = 0) = (head_commit_id IS NULL)),
    CHECK (skills_generation BETWEEN 0 AND generation),
    CHECK ((fork_of_project_id IS NULL) = (fork_of_generation IS NULL))
) WITH (fillfactor = 60);

CREATE UNIQUE INDEX projects_living_name ON projects (owner_id, tenant_id, name) WHERE deleted_at IS NULL;
CREATE INDEX projects_forks ON projects (fork_of_project_id, tenant_id) WHERE fork_of_project_id IS NOT NULL;

CREATE TABLE project_keys (
    tenant_id   text COLLATE "C" NOT NULL,
    project_id  text COLLATE "C" NOT NULL,
    dek_id      text COLLATE "C" NOT NULL CHECK (length(dek_id) = 26),
    position    bigint GENERATED ALWAYS AS IDENTITY, -- a project's newest key has its highest
    provider    text NOT NULL,
    key_name    text NOT NULL,
    key_version integer NOT NULL,
    ciphertext  bytea NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, project_id, dek_id),
    FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);

CREATE TABLE commits (
    tenant_id    text COLLATE "C" NOT NULL,
    project_id   text COLLATE "C" NOT NULL,
    generation   bigint NOT NULL CHECK (generation >= 1),
    commit_id    text COLLATE "C" NOT NULL CHECK (length(commit_id) = 26),
    parent_id    text COLLATE "C",
    record_hash  bytea NOT NULL,
    dek_id       text COLLATE "C" NOT NULL,
    object_bytes bigint NOT NULL CHECK (object_bytes >= 0),
    author_id    text COLLATE "C" NOT NULL,
    session_id   text COLLATE "C",
    note         bytea NOT NULL,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, project_id, generation),
    CONSTRAINT commits_id UNIQUE (commit_id, tenant_id, project_id),
    FOREIGN KEY (tenant_id, project_id) REFERENCES projects,
    CONSTRAINT commits_parent FOREIGN KEY (tenant_id, project_id, parent_id)
        REFERENCES commits (tenant_id, project_id, commit_id),
    CONSTRAINT commits_key FOREIGN KEY (tenant_id, project_id, dek_id) REFERENCES project_keys,
    CHECK ((generation = 1) = (parent_id IS NULL))
);

ALTER TABLE projects ADD CONSTRAINT projects_head FOREIGN KEY (tenant_id, project_id, head_commit_id)
    REFERENCES commits (tenant_id, project_id, commit_id);

CREATE TABLE checkpoints (
    tenant_id    text COLLATE "C" NOT NULL,
    project_id   text COLLATE "C" NOT NULL,
    generation   bigint NOT NULL,
    commit_id    text COLLATE "C" NOT NULL,
    dek_id       text COLLATE "C" NOT NULL,
    object_bytes bigint NOT NULL CHECK (object_bytes >= 0),
    PRIMARY KEY (tenant_id, project_id, generation),
    FOREIGN KEY (tenant_id, project_id, generation) REFERENCES commits,
    CONSTRAINT checkpoints_key FOREIGN KEY (tenant_id, project_id, dek_id) REFERENCES project_keys
);

CREATE TABLE sessions (
    tenant_id        text COLLATE "C" NOT NULL,
    user_id          text COLLATE "C" NOT NULL,
    session_id       text COLLATE "C" NOT NULL,
    project_id       text COLLATE "C" NOT NULL,
    base_generation  bigint NOT NULL CHECK (base_generation >= 0),
    base_commit_id   text COLLATE "C",
    draft_generation bigint CHECK (draft_generation >= 1),
    draft_commit_id  text COLLATE "C",
    draft_parent_id  text COLLATE "C",
    draft_dek_id     text COLLATE "C",
    draft_bytes      bigint CHECK (draft_bytes >= 0),
    draft_saved_at   timestamptz,
    scope            bytea NOT NULL,
    created_at       timestamptz NOT NULL,
    expires_at       timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, user_id, session_id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users,
    FOREIGN KEY (tenant_id, project_id) REFERENCES projects,
    CONSTRAINT sessions_draft_key FOREIGN KEY (tenant_id, project_id, draft_dek_id) REFERENCES project_keys,
    CHECK ((base_generation = 0) = (base_commit_id IS NULL)),
    CHECK (num_nonnulls(draft_generation, draft_commit_id, draft_dek_id, draft_bytes, draft_saved_at) IN (0, 5))
) WITH (fillfactor = 60);

CREATE INDEX sessions_of_project ON sessions (project_id, tenant_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- Facts for the outside world. Within a project, sequence is the order of events: it is drawn while the transaction
-- holds the project's row. A row leaves the two partial indexes when it is delivered, so they stay as small as the
-- backlog. A parked row keeps its place in the second, and so holds back what came after it in its project.
CREATE TABLE outbox (
    sequence        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id       text COLLATE "C" NOT NULL,
    project_id      text COLLATE "C" NOT NULL,
    type            text NOT NULL,
    generation      bigint NOT NULL,
    data            jsonb NOT NULL,
    created_at      timestamptz NOT NULL,
    attempts        integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    next_attempt_at timestamptz,
    parked_at       timestamptz,
    last_error      text,
    delivered_at    timestamptz
);

CREATE INDEX outbox_pending ON outbox (sequence) WHERE delivered_at IS NULL AND parked_at IS NULL;
CREATE INDEX outbox_backlog ON outbox (tenant_id, project_id, sequence) WHERE delivered_at IS NULL;
