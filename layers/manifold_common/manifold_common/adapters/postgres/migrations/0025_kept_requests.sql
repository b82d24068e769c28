-- What a job was asked to do is kept like a file that arrives in parts: sealed, with its content and its answer.
ALTER TABLE resumable_uploads
    ADD COLUMN purpose text NOT NULL DEFAULT 'file' CHECK (purpose IN ('file', 'job'));
