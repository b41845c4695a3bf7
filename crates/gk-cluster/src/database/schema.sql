-- The id of the hosts that share these tables: the objects of their files are below it.
CREATE TABLE cluster (
    id text NOT NULL
);
INSERT INTO cluster VALUES (md5(random()::text || clock_timestamp()::text));

-- What the administrators change, in the order of the changes. Hosts read what is newer than what they have.
CREATE TABLE change (
    version bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic   text NOT NULL,
    key     text NOT NULL,
    at      timestamptz NOT NULL DEFAULT now()
);

-- One row for each running process of a host.
CREATE TABLE host (
    id      text PRIMARY KEY,
    name    text NOT NULL,
    release text NOT NULL,
    started timestamptz NOT NULL DEFAULT now(),
    seen    timestamptz NOT NULL DEFAULT now(),
    applied bigint NOT NULL,
    details jsonb NOT NULL DEFAULT '{}'
);

CREATE TABLE token (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash         bytea NOT NULL UNIQUE,
    login        text NOT NULL,
    role         text NOT NULL,
    created_at   bigint NOT NULL,
    expires_at   bigint,
    last_used_at bigint
);

CREATE TABLE policy (
    plugin text PRIMARY KEY,
    policy text NOT NULL,
    set_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE plugin (
    name    text PRIMARY KEY,
    enabled boolean NOT NULL
);

CREATE TABLE kv (
    plugin  text NOT NULL,
    key     bytea NOT NULL,
    value   bytea NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (plugin, key)
);

CREATE TABLE kv_usage (
    plugin  text PRIMARY KEY,
    keys    bigint NOT NULL DEFAULT 0,
    bytes   bigint NOT NULL DEFAULT 0,
    version bigint NOT NULL DEFAULT 0
);

CREATE TABLE secure (
    plugin text NOT NULL,
    key    text NOT NULL,
    key_id text NOT NULL,
    nonce  bytea NOT NULL,
    sealed bytea NOT NULL,
    PRIMARY KEY (plugin, key)
);

-- Moments of jobs are microseconds since 1970, by the clock of the host that ticked.
CREATE TABLE job (
    plugin    text NOT NULL,
    job       text NOT NULL,
    schedule  text NOT NULL,
    last_tick bigint NOT NULL,
    suspended boolean NOT NULL DEFAULT false,
    overrides text NOT NULL DEFAULT '{}',
    missed    bigint NOT NULL DEFAULT 0,
    skipped   bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (plugin, job)
);

CREATE TABLE job_run (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    plugin      text NOT NULL,
    job         text NOT NULL,
    trigger     text NOT NULL,
    tick        bigint NOT NULL,
    state       text NOT NULL,
    attempt     bigint NOT NULL,
    retries     bigint NOT NULL,
    start_at    bigint NOT NULL,
    start_until bigint,
    started_at  bigint,
    ended_at    bigint,
    host        text,
    -- The process that runs it: host.id.
    owner       text,
    generation  bigint,
    result      text,
    error       text
);
CREATE INDEX job_run_of_job ON job_run (plugin, job, id);
CREATE INDEX job_run_waiting ON job_run (start_at, id) WHERE state = 'waiting';
CREATE INDEX job_run_running ON job_run (owner) WHERE state = 'running';

CREATE TABLE audit (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         bigint NOT NULL,
    host       text NOT NULL,
    login      text NOT NULL,
    token      bigint,
    uid        bigint,
    address    text,
    change     text NOT NULL,
    target     text NOT NULL,
    before     text NOT NULL,
    request_id text NOT NULL
);
CREATE INDEX audit_target ON audit (target);

CREATE TABLE audit_outcome (
    audit bigint PRIMARY KEY REFERENCES audit (id) ON DELETE CASCADE,
    error text,
    after text NOT NULL
);

-- Entries are added and never changed; only the oldest beyond the limit go.
CREATE FUNCTION audit_refuses() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END $$;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
    FOR EACH ROW EXECUTE FUNCTION audit_refuses();
CREATE TRIGGER audit_outcome_is_not_changed BEFORE UPDATE ON audit_outcome
    FOR EACH ROW EXECUTE FUNCTION audit_refuses();
CREATE TRIGGER audit_is_not_truncated BEFORE TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuses();
CREATE TRIGGER audit_outcome_is_not_truncated BEFORE TRUNCATE ON audit_outcome
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuses();
CREATE FUNCTION audit_keeps_the_newest() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.id > (SELECT max(id) FROM audit) - 100000 THEN
        RAISE EXCEPTION 'the audit log is append-only';
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER audit_is_not_removed BEFORE DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION audit_keeps_the_newest();
-- An outcome goes with its entry, and not before.
CREATE FUNCTION audit_outcome_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM audit WHERE id = OLD.audit) THEN
        RAISE EXCEPTION 'the audit log is append-only';
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER audit_outcome_is_not_removed BEFORE DELETE ON audit_outcome
    FOR EACH ROW EXECUTE FUNCTION audit_outcome_stays();

-- A file: its bytes are an object of the store.
CREATE TABLE file (
    plugin      text NOT NULL,
    key         bytea NOT NULL,
    object      text NOT NULL,
    size        bigint NOT NULL,
    bytes       bigint NOT NULL,
    metadata    jsonb NOT NULL,
    modified_at bigint NOT NULL,
    PRIMARY KEY (plugin, key)
);
CREATE INDEX file_object ON file (object);

CREATE TABLE file_usage (
    plugin text PRIMARY KEY,
    files  bigint NOT NULL DEFAULT 0,
    bytes  bigint NOT NULL DEFAULT 0
);
