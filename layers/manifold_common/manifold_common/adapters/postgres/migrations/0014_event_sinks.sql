-- How each sink itself does, shared by all who deliver: one that fails or asks for rest is left alone by every process.
-- A row appears with the first report. `failures` counts outages in a row that were looked at, whoever looked.
CREATE TABLE event_sinks (
    sink          text COLLATE "C" PRIMARY KEY, -- a name that shows nothing of a URL but its host
    failures      integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    since         timestamptz NOT NULL,         -- since when it works, or does not
    ok_at         timestamptz,
    failed_at     timestamptz,
    retry_at      timestamptz,                  -- nothing is sent before
    parked_at     timestamptz,
    last_error    text,
    probe         text,                         -- the lease of the one batch that tries whether it works again
    probing_until timestamptz,
    CHECK ((probe IS NULL) = (probing_until IS NULL))
);

-- Attempts in a row that ended at a stream's first event, whatever the reason.
ALTER TABLE event_streams ADD COLUMN failures integer NOT NULL DEFAULT 0 CHECK (failures >= 0);
