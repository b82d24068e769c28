-- How far each sink has got with each project's events. What was per event in the outbox is per stream here, so that a
-- sink that is down holds up no other, and an event that is refused holds up its own project only, at that sink only.
CREATE TABLE event_streams (
    sink         text COLLATE "C" NOT NULL,
    tenant_id    text COLLATE "C" NOT NULL,
    project_id   text COLLATE "C" NOT NULL,
    delivered    bigint NOT NULL DEFAULT 0, -- everything up to this sequence
    refusals     integer NOT NULL DEFAULT 0 CHECK (refusals >= 0),
    retry_at     timestamptz,
    parked_at    timestamptz,
    last_error   text,
    lease        text,
    leased_until timestamptz,
    PRIMARY KEY (sink, tenant_id, project_id),
    CHECK ((lease IS NULL) = (leased_until IS NULL))
);

-- delivered_at now says that every sink has the event. The backlog's index is as small as the backlog.
DROP INDEX outbox_pending, outbox_backlog;
ALTER TABLE outbox DROP COLUMN attempts, DROP COLUMN next_attempt_at, DROP COLUMN parked_at, DROP COLUMN last_error;
CREATE INDEX outbox_backlog ON outbox (tenant_id, project_id, sequence) WHERE delivered_at IS NULL;
CREATE INDEX outbox_delivered ON outbox (delivered_at) WHERE delivered_at IS NOT NULL;
