-- Names for generations. A deleted project's stay, and are not seen.
CREATE TABLE tags (
    tenant_id  text COLLATE "C" NOT NULL,
    project_id text COLLATE "C" NOT NULL,
    name       text COLLATE "C" NOT NULL,
    generation bigint NOT NULL,
    commit_id  text COLLATE "C" NOT NULL,
    user_id    text COLLATE "C" NOT NULL, -- who set it last
    created_at timestamptz NOT NULL,
    moved_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, project_id, name),
    CONSTRAINT tags_generation FOREIGN KEY (tenant_id, project_id, generation) REFERENCES commits
);
