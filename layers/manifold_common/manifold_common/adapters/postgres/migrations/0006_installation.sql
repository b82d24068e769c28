-- Which installation this catalog is of, and which database it was settled on. A dump or a copied data folder brings the
-- row along, but not the database that it names: so a copy is told from the original, and does nothing to what belongs
-- to that one until somebody has said which of the two goes on. Ids are written as all others are, 100 bits of them random.
CREATE TABLE installation (
    singleton         boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    catalog_id        text COLLATE "C" NOT NULL CHECK (length(catalog_id) = 26),
    incarnation       text COLLATE "C" NOT NULL CHECK (length(incarnation) = 26), -- another one for each copy that goes on
    system_identifier text NOT NULL, -- of the server's data folder
    database_oid      bigint NOT NULL,
    store             text NOT NULL DEFAULT '' -- where the objects are; '' while nobody has said so
);

INSERT INTO installation (catalog_id, incarnation, system_identifier, database_oid)
SELECT rpad(left(translate(replace(gen_random_uuid()::text, '-', ''), '0123456789', 'ghijklmnop'), 25), 26, 'a'),
       rpad(left(translate(replace(gen_random_uuid()::text, '-', ''), '0123456789', 'ghijklmnop'), 25), 26, 'a'),
       (SELECT system_identifier::text FROM pg_control_system()),
       (SELECT oid::bigint FROM pg_database WHERE datname = current_database());

-- On which machine a session's working set is, and until when what was changed there is durable.
ALTER TABLE sessions ADD COLUMN working_set_node text COLLATE "C",
                     ADD COLUMN durable_at timestamptz NOT NULL DEFAULT now();
UPDATE sessions SET durable_at = greatest(created_at, draft_saved_at);

-- Sessions that were closed or have ended, so that a working set of one that the catalog never knew is told from them.
CREATE TABLE ended_sessions (
    tenant_id  text COLLATE "C" NOT NULL,
    user_id    text COLLATE "C" NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    ended_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id, session_id, created_at)
);

CREATE INDEX ended_sessions_by_time ON ended_sessions (ended_at);
