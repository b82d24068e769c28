-- Objects that clients store by themselves. A row lives from its link until a commit refers to the object, or until the
-- object is removed because nobody claimed it in time.
CREATE TABLE uploads (
    tenant_id  text COLLATE "C" NOT NULL,
    project_id text COLLATE "C" NOT NULL,
    name       text COLLATE "C" NOT NULL CHECK (length(name) = 26),
    user_id    text COLLATE "C" NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('pack', 'draft')),
    object_id  text COLLATE "C" NOT NULL CHECK (length(object_id) = 26),
    generation bigint NOT NULL CHECK ((kind = 'draft') = (generation >= 1)),
    dek_id     text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    claimed    boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant_id, project_id, name),
    CONSTRAINT uploads_key FOREIGN KEY (tenant_id, project_id, dek_id) REFERENCES project_keys
);

CREATE INDEX uploads_ended ON uploads (expires_at) WHERE NOT claimed;
