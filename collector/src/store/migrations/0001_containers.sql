-- A container as last seen. A row outlives a recreate of the same service or name: `identity`
-- finds it again, `external_id` names the present incarnation.
CREATE TABLE containers (
    id                   INTEGER PRIMARY KEY AUTOINCREMENT,
    identity             TEXT NOT NULL,
    external_id          TEXT NOT NULL,
    name                 TEXT NOT NULL,
    image                TEXT NOT NULL,
    state                TEXT NOT NULL CHECK (state IN
        ('created', 'running', 'paused', 'restarting', 'exited', 'completed', 'dead')),
    health               TEXT CHECK (health IN ('starting', 'healthy', 'unhealthy')),
    has_health_check     INTEGER NOT NULL,
    compose_project      TEXT NOT NULL,
    compose_service      TEXT NOT NULL,
    compose_working_dir  TEXT NOT NULL,
    custom_group         TEXT NOT NULL,
    is_ignored           INTEGER NOT NULL,
    alert_severity       TEXT NOT NULL CHECK (alert_severity IN ('critical', 'warning', 'info')),
    restart_threshold    INTEGER NOT NULL,
    alert_channels       TEXT NOT NULL,
    restart_policy       TEXT NOT NULL,
    restart_limit        INTEGER NOT NULL,
    stop_signal          INTEGER NOT NULL,
    restart_count        INTEGER NOT NULL,
    exit_code            INTEGER,
    exit_signal          INTEGER,
    exit_reason          TEXT,
    oom_killed           INTEGER NOT NULL,
    error_detail         TEXT NOT NULL,
    started_at           INTEGER,
    finished_at          INTEGER,
    first_seen_at        INTEGER NOT NULL,
    last_state_change_at INTEGER NOT NULL,
    archived_at          INTEGER
) STRICT;

CREATE UNIQUE INDEX containers_live ON containers (identity) WHERE archived_at IS NULL;
CREATE INDEX containers_archived ON containers (identity, archived_at)
    WHERE archived_at IS NOT NULL;

-- Every change of state or health. A change of health alone has equal states.
CREATE TABLE container_transitions (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    container_id    INTEGER NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
    at              INTEGER NOT NULL,
    previous_state  TEXT NOT NULL,
    new_state       TEXT NOT NULL,
    previous_health TEXT,
    new_health      TEXT,
    exit_code       INTEGER,
    exit_signal     INTEGER,
    exit_reason     TEXT,
    oom_killed      INTEGER NOT NULL,
    observed_by     TEXT NOT NULL CHECK (observed_by IN ('event', 'resync')),
    log_snippet     TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE INDEX container_transitions_newest ON container_transitions (container_id, at, id);
CREATE INDEX container_transitions_age ON container_transitions (at);

-- Spans of availability. The open span (to_at IS NULL) holds as long as the engine is heard:
-- until the mark `docker_observed_until` while it is not. Time in no span counts as unknown.
CREATE TABLE container_availability (
    container_id INTEGER NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
    from_at      INTEGER NOT NULL,
    to_at        INTEGER,
    is_up        INTEGER NOT NULL,
    PRIMARY KEY (container_id, from_at)
) STRICT, WITHOUT ROWID;

-- Moments that must survive a restart.
CREATE TABLE marks (
    name TEXT PRIMARY KEY,
    at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
