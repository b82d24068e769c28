-- What verifications have found damaged and none has found whole since.
CREATE TABLE damaged_objects (
    tenant_id        text COLLATE "C" NOT NULL,
    project_id       text COLLATE "C" NOT NULL,
    object_key       text COLLATE "C" NOT NULL,
    reason           text NOT NULL,
    first_generation bigint,               -- the first that refers to it; none: a key or saved work
    found_at         timestamptz NOT NULL,
    seen_at          timestamptz NOT NULL, -- the last time
    PRIMARY KEY (tenant_id, project_id, object_key),
    CONSTRAINT damaged_objects_project FOREIGN KEY (tenant_id, project_id) REFERENCES projects ON DELETE CASCADE
);
