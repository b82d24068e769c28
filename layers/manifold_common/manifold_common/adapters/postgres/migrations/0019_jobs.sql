-- Work on many items. Counters are the items' in each state, kept up by the statements that change those.
CREATE TABLE jobs (
    tenant_id     text COLLATE "C" NOT NULL,
    job_id        text COLLATE "C" NOT NULL CHECK (length(job_id) = 26),
    kind          text COLLATE "C" NOT NULL,
    params        text COLLATE "C" NOT NULL,
    user_id       text COLLATE "C" NOT NULL,
    project_id    text COLLATE "C",
    rate          double precision CHECK (rate BETWEEN 0.001 AND 1000000),
    state         text NOT NULL CHECK (state IN ('running', 'paused', 'done', 'failed', 'cancelled')),
    is_planned    boolean NOT NULL DEFAULT false,
    plan_cursor   text COLLATE "C",
    pending       bigint NOT NULL DEFAULT 0 CHECK (pending >= 0),
    done          bigint NOT NULL DEFAULT 0,
    skipped       bigint NOT NULL DEFAULT 0,
    failed        bigint NOT NULL DEFAULT 0 CHECK (failed >= 0),
    speed         double precision,
    measured_at   timestamptz NOT NULL,   -- the beginning of the stretch that the next speed is of
    measured_from bigint NOT NULL DEFAULT 0,
    rests_until   timestamptz,
    paced_until   timestamptz,            -- its rate allows nothing until then
    trouble_code  text,
    trouble_text  text,
    created_at    timestamptz NOT NULL,
    running_since timestamptz NOT NULL,
    ended_at      timestamptz CHECK ((ended_at IS NULL) = (state IN ('running', 'paused'))),
    revision      bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, job_id)
);

-- The same work is not under way twice.
CREATE UNIQUE INDEX jobs_unfinished ON jobs (tenant_id, kind, params) WHERE ended_at IS NULL;
CREATE INDEX jobs_running ON jobs (created_at) WHERE state = 'running';
CREATE INDEX jobs_by_time ON jobs (tenant_id, created_at, job_id);
CREATE INDEX jobs_ended ON jobs (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE job_items (
    tenant_id    text COLLATE "C" NOT NULL,
    job_id       text COLLATE "C" NOT NULL,
    number       bigint NOT NULL CHECK (number > 0),
    item         text COLLATE "C" NOT NULL,
    state        text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'done', 'skipped', 'failed')),
    begun        integer NOT NULL DEFAULT 0,
    lost         integer NOT NULL DEFAULT 0, -- leases that ran out
    lease        text COLLATE "C",
    leased_until timestamptz CHECK ((lease IS NULL) = (leased_until IS NULL)),
    rests_until  timestamptz,
    error_code   text,
    error_text   text,
    changed_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, job_id, number),
    CONSTRAINT job_items_job FOREIGN KEY (tenant_id, job_id) REFERENCES jobs ON DELETE CASCADE
);

CREATE INDEX job_items_pending ON job_items (tenant_id, job_id, rests_until NULLS FIRST, number)
    WHERE state = 'pending';
CREATE INDEX job_items_held ON job_items (tenant_id, job_id, lease) WHERE lease IS NOT NULL;
CREATE INDEX job_items_troubled ON job_items (tenant_id, job_id, number) WHERE error_code IS NOT NULL;
