-- An upload belongs to one draft, has one length, and says what it was found to hold and which commits may refer to it.
-- What was claimed before may be referred to, which nothing tells any more: such rows go, their objects stay. Whatever
-- else there is cannot be used any more, and is removed in its time.
DELETE FROM uploads WHERE claimed;
DROP INDEX uploads_ended;
ALTER TABLE uploads
    DROP COLUMN claimed,
    ADD COLUMN draft_id text COLLATE "C",
    ADD COLUMN stored_bytes bigint CHECK (stored_bytes > 0),
    ADD COLUMN proof bytea,
    ADD COLUMN commits text[] COLLATE "C" NOT NULL DEFAULT '{}',
    ADD COLUMN removing boolean NOT NULL DEFAULT false;
UPDATE uploads SET draft_id = name, stored_bytes = 1;
ALTER TABLE uploads ALTER COLUMN draft_id SET NOT NULL;

CREATE INDEX uploads_ended ON uploads (expires_at);
CREATE INDEX uploads_of_user ON uploads (user_id, tenant_id, session_id);
CREATE INDEX uploads_of_draft ON uploads (draft_id, tenant_id, project_id);
