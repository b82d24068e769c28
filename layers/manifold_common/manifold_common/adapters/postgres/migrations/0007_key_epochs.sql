-- Keys are numbered in the order in which they were made to write. A project whose encryption begins is given a key of
-- epoch 1 in the same statement that raises key_epoch in its own row, where everything that is published has to pass: so
-- nothing unsealed gets in any more, not even what was under way. Keys from before have epoch 0.
ALTER TABLE project_keys ADD COLUMN epoch integer NOT NULL DEFAULT 0 CHECK (epoch >= 0);
ALTER TABLE projects ADD COLUMN key_epoch integer NOT NULL DEFAULT 0 CHECK (key_epoch >= 0);

CREATE UNIQUE INDEX project_keys_epoch ON project_keys (project_id, tenant_id, epoch) WHERE epoch > 0;

-- Records that stand for no data key: those of projects that hold unsealed objects.
CREATE INDEX project_keys_plain ON project_keys (project_id, tenant_id) WHERE dek_id = 'aaaaaaaaaaaaaaaaaaaaaaaaaa';
