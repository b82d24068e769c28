-- Uploads with packs that are to be removed before the time of the upload is over.
CREATE INDEX resumable_uploads_done_clutter ON resumable_uploads (expires_at)
    WHERE stage = 'done' AND spare <> '{}';
CREATE INDEX resumable_uploads_open_clutter ON resumable_uploads (expires_at)
    WHERE stage = 'open' AND cardinality(spare) > 16;
