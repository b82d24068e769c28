-- What each project has stored, as its family's last collection, or somebody who measured it, has found it. A deleted
-- project has a row, too: it takes space until all of it is gone.
CREATE TABLE project_usage (
    tenant_id            text COLLATE "C" NOT NULL,
    project_id           text COLLATE "C" NOT NULL,
    generation           bigint NOT NULL CHECK (generation >= 0), -- its newest one then
    live_objects         bigint NOT NULL CHECK (live_objects >= 0),
    live_bytes           bigint NOT NULL CHECK (live_bytes >= 0),
    history_objects      bigint NOT NULL CHECK (history_objects >= 0),
    history_bytes        bigint NOT NULL CHECK (history_bytes >= 0),
    unreferenced_objects bigint NOT NULL CHECK (unreferenced_objects >= 0),
    unreferenced_bytes   bigint NOT NULL CHECK (unreferenced_bytes >= 0),
    measured_at          timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, project_id),
    FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);
