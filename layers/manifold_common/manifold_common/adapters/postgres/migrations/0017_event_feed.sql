-- Events as they are read, in a project or in a tenant, from one on. What was removed is noted: the last of each project,
-- with its time, by which a place in this history is told from one in another that gave the number to another event.
CREATE INDEX outbox_of_project ON outbox (project_id, tenant_id, sequence);
CREATE INDEX outbox_of_tenant ON outbox (tenant_id, sequence);

CREATE TABLE removed_events (
    tenant_id  text COLLATE "C" NOT NULL,
    project_id text COLLATE "C" NOT NULL,
    sequence   bigint NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, tenant_id)
);

CREATE INDEX removed_events_of_tenant ON removed_events (tenant_id, sequence);
