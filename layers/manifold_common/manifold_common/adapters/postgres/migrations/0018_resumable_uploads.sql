-- Files that arrive in parts. What a file is, and how far it is, are sealed; sizes and times are not.
CREATE TABLE resumable_uploads (
    tenant_id      text COLLATE "C" NOT NULL,
    project_id     text COLLATE "C" NOT NULL,
    upload_id      text COLLATE "C" NOT NULL CHECK (length(upload_id) = 26),
    user_id        text COLLATE "C" NOT NULL,
    dek_id         text COLLATE "C" NOT NULL,
    about          bytea NOT NULL,
    progress       bytea NOT NULL,
    received_bytes bigint NOT NULL CHECK (received_bytes >= 0),
    total_bytes    bigint CHECK (total_bytes >= received_bytes),
    spare          text[] COLLATE "C" NOT NULL, -- packs that may be stored, and that no part refers to
    created_at     timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL,
    stage          text NOT NULL CHECK (stage IN ('open', 'done', 'removing')),
    announced_at   timestamptz,                 -- since when a commit may refer to its objects
    writer         text COLLATE "C",
    writing_until  timestamptz,
    PRIMARY KEY (tenant_id, project_id, upload_id),
    CONSTRAINT resumable_uploads_key FOREIGN KEY (tenant_id, project_id, dek_id) REFERENCES project_keys,
    CHECK ((writer IS NULL) = (writing_until IS NULL))
);

CREATE INDEX resumable_uploads_ended ON resumable_uploads (expires_at);

-- Uploads with packs that are to be removed before the time of the upload is over.
CREATE INDEX resumable_uploads_done_clutter ON resumable_uploads (expires_at)
    WHERE stage = 'done' AND spare <> '{}';
CREATE INDEX resumable_uploads_open_clutter ON resumable_uploads (expires_at)
    WHERE stage = 'open' AND cardinality(spare) > 16;

CREATE TABLE resumable_parts (
    tenant_id  text COLLATE "C" NOT NULL,
    project_id text COLLATE "C" NOT NULL,
    upload_id  text COLLATE "C" NOT NULL,
    number     integer NOT NULL CHECK (number >= 0),
    dek_id     text COLLATE "C" NOT NULL,
    objects    text[] COLLATE "C" NOT NULL,
    places     bytea NOT NULL,
    PRIMARY KEY (tenant_id, project_id, upload_id, number),
    CONSTRAINT resumable_parts_upload FOREIGN KEY (tenant_id, project_id, upload_id) REFERENCES resumable_uploads
        ON DELETE CASCADE,
    CONSTRAINT resumable_parts_key FOREIGN KEY (tenant_id, project_id, dek_id) REFERENCES project_keys
);
