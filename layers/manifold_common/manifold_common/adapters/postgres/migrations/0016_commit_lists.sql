-- What an author or a session has committed, newest first. An author's commits may be few among very many.
CREATE INDEX commits_by_author ON commits (author_id, tenant_id, project_id, generation);
CREATE INDEX commits_by_session ON commits (session_id, tenant_id, project_id, generation) WHERE session_id IS NOT NULL;
