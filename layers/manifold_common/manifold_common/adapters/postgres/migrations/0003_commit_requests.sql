-- A request that is made again, because its answer was lost, must not become a second commit. What it is called stands in
-- the very row that makes its commit visible, so the two cannot come apart. Commits without a request cost nothing here.
ALTER TABLE commits ADD COLUMN request_id text COLLATE "C";

CREATE UNIQUE INDEX commits_request ON commits (request_id, tenant_id, project_id) WHERE request_id IS NOT NULL;
