-- A heartbeat. Either `interval_seconds` or `schedule` and `timezone` are set.
CREATE TABLE heartbeats (
    id                     INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid                   TEXT NOT NULL UNIQUE,
    name                   TEXT NOT NULL,
    interval_seconds       INTEGER,
    schedule               TEXT,
    timezone               TEXT,
    grace_seconds          INTEGER NOT NULL,
    max_runtime_seconds    INTEGER,
    status                 TEXT NOT NULL CHECK (status IN
        ('new', 'up', 'down', 'started', 'paused')),
    problem                TEXT,
    alert_state            TEXT NOT NULL CHECK (alert_state IN ('normal', 'alerting')),
    anchor_at              INTEGER NOT NULL,
    expected_at            INTEGER,
    running_since          INTEGER,
    current_run_started_at INTEGER,
    last_ping_at           INTEGER,
    last_exit_code         INTEGER,
    last_duration_ms       INTEGER,
    consecutive_failures   INTEGER NOT NULL,
    consecutive_successes  INTEGER NOT NULL,
    status_since           INTEGER NOT NULL,
    -- The deadline that time is running towards, in which way ever it comes about.
    deadline_at            INTEGER,
    created_at             INTEGER NOT NULL,
    updated_at             INTEGER NOT NULL,
    deleted_at             INTEGER,
    CHECK ((interval_seconds IS NULL) = (schedule IS NOT NULL)),
    CHECK ((schedule IS NULL) = (timezone IS NULL))
) STRICT;

CREATE INDEX heartbeats_due ON heartbeats (deadline_at) WHERE deadline_at IS NOT NULL;

-- Every ping that was answered with 200.
CREATE TABLE heartbeat_pings (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    heartbeat_id   INTEGER NOT NULL REFERENCES heartbeats (id) ON DELETE CASCADE,
    at             INTEGER NOT NULL,
    ping_type      TEXT NOT NULL CHECK (ping_type IN
        ('success', 'start', 'exit_code', 'fail', 'log')),
    exit_code      INTEGER,
    source_ip      TEXT NOT NULL,
    http_method    TEXT NOT NULL,
    payload        TEXT,
    run_id         TEXT,
    expected_at    INTEGER,
    grace_deadline INTEGER
) STRICT;

CREATE INDEX heartbeat_pings_of ON heartbeat_pings (heartbeat_id);
CREATE INDEX heartbeat_pings_bodies ON heartbeat_pings (heartbeat_id) WHERE payload IS NOT NULL;

-- Runs. `ended_at` is empty while a run is under way, and of a timeout whose end was never told.
CREATE TABLE heartbeat_runs (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    heartbeat_id INTEGER NOT NULL REFERENCES heartbeats (id) ON DELETE CASCADE,
    run_id       TEXT,
    started_at   INTEGER,
    ended_at     INTEGER,
    exit_code    INTEGER,
    outcome      TEXT NOT NULL CHECK (outcome IN
        ('success', 'failure', 'timeout', 'in_progress')),
    -- The ping that ended it; its body is the run's payload.
    ended_by     INTEGER
) STRICT;

CREATE INDEX heartbeat_runs_of ON heartbeat_runs (heartbeat_id);
CREATE INDEX heartbeat_runs_named ON heartbeat_runs (heartbeat_id, run_id)
    WHERE run_id IS NOT NULL;
CREATE INDEX heartbeat_runs_open ON heartbeat_runs (heartbeat_id, started_at)
    WHERE outcome = 'in_progress';

-- Spans of availability. The open span (to_at IS NULL) holds as long as the collector listens: until
-- the mark `heartbeats_listened_until` while it does not. Time in no span counts as unknown: new,
-- paused, or nobody listened.
CREATE TABLE heartbeat_spans (
    heartbeat_id INTEGER NOT NULL REFERENCES heartbeats (id) ON DELETE CASCADE,
    from_at      INTEGER NOT NULL,
    to_at        INTEGER,
    is_up        INTEGER NOT NULL,
    PRIMARY KEY (heartbeat_id, from_at)
) STRICT, WITHOUT ROWID;

CREATE INDEX heartbeat_spans_open ON heartbeat_spans (heartbeat_id) WHERE to_at IS NULL;
