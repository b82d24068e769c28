-- A commit's created_at is by the clock of whoever made it, and only after its parent's. recorded_at is by this server's
-- clock: no statement names it. What is kept, and for how long, goes by it. Of older commits their own word is taken,
-- but for those that were ahead of time.
ALTER TABLE commits ADD COLUMN recorded_at timestamptz NOT NULL DEFAULT now();
UPDATE commits SET recorded_at = least(created_at, recorded_at);

-- The head's created_at: whoever writes the next commit knows it without another look.
ALTER TABLE projects ADD COLUMN committed_at timestamptz;
UPDATE projects AS p SET committed_at = c.created_at
FROM commits AS c
WHERE c.tenant_id = p.tenant_id AND c.project_id = p.project_id AND c.commit_id = p.head_commit_id;
