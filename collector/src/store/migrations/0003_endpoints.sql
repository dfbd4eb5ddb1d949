-- What is checked. `container_id` is 0 for an endpoint that no container declares; then `label_key`
-- is `file:<name>` or a UUID. `config` is the configuration it is checked with, `own` what its
-- creator said (endpoints made over REST), both as JSON of the wire.
CREATE TABLE endpoints (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    container_id   INTEGER NOT NULL,
    label_key      TEXT NOT NULL,
    source         TEXT NOT NULL CHECK (source IN ('label', 'file', 'standalone')),
    container_name TEXT NOT NULL,
    external_id    TEXT NOT NULL,
    compose_project TEXT NOT NULL,
    compose_service TEXT NOT NULL,
    name           TEXT NOT NULL,
    endpoint_type  TEXT NOT NULL CHECK (endpoint_type IN ('http', 'tcp')),
    target         TEXT NOT NULL,
    config         TEXT NOT NULL,
    own            TEXT,
    first_seen_at  INTEGER NOT NULL,
    -- When it was last declared; of one that is not any more, when that ended.
    last_seen_at   INTEGER NOT NULL,
    active         INTEGER NOT NULL,
    UNIQUE (container_id, label_key)
) STRICT;

-- What changes with every check, apart from what does not. `outcome` and `phases` are those of the
-- last check as in `endpoint_checks`. Unless the endpoint is checked again, `status` is known until
-- `holds_until`; NULL says that something else keeps it known.
CREATE TABLE endpoint_states (
    endpoint_id   INTEGER PRIMARY KEY REFERENCES endpoints (id) ON DELETE CASCADE,
    status        TEXT NOT NULL CHECK (status IN ('up', 'down', 'unknown')),
    since         INTEGER,
    alert_state   TEXT NOT NULL CHECK (alert_state IN ('normal', 'alerting')),
    failures      INTEGER NOT NULL,
    successes     INTEGER NOT NULL,
    failing_since INTEGER,
    last_check_at INTEGER,
    holds_until   INTEGER,
    outcome       INTEGER,
    phases        BLOB,
    error         TEXT
) STRICT;

-- Every check. `outcome`: 0 is HTTP 200, 1 a success over TCP, 100 to 599 another expected status,
-- below 0 a failure: -(1 + 1000 * cause + status, or 0). `phases` are milliseconds as variable-length
-- integers, written by code.rs.
CREATE TABLE endpoint_checks (
    endpoint_id INTEGER NOT NULL REFERENCES endpoints (id) ON DELETE CASCADE,
    at          INTEGER NOT NULL,
    outcome     INTEGER NOT NULL,
    phases      BLOB NOT NULL,
    PRIMARY KEY (endpoint_id, at)
) STRICT, WITHOUT ROWID;

CREATE TABLE endpoint_failures (
    endpoint_id INTEGER NOT NULL REFERENCES endpoints (id) ON DELETE CASCADE,
    at          INTEGER NOT NULL,
    error       TEXT NOT NULL,
    PRIMARY KEY (endpoint_id, at)
) STRICT, WITHOUT ROWID;

-- Spans of one state: 0 up, 1 down, 2 down still after a time nothing is known of. An open one
-- (to_at IS NULL) holds until `endpoint_states.holds_until`. Time in no span is unknown.
CREATE TABLE endpoint_spans (
    endpoint_id INTEGER NOT NULL REFERENCES endpoints (id) ON DELETE CASCADE,
    from_at     INTEGER NOT NULL,
    to_at       INTEGER,
    state       INTEGER NOT NULL CHECK (state BETWEEN 0 AND 2),
    PRIMARY KEY (endpoint_id, from_at)
) STRICT, WITHOUT ROWID;

-- What is left of the spans of each whole day (in UTC, counted from 1970-01-01) of which something is
-- known. `all_up_ms` and `all_down_ms` add up this day and those before it: two rows tell any number of
-- days.
CREATE TABLE endpoint_days (
    endpoint_id INTEGER NOT NULL REFERENCES endpoints (id) ON DELETE CASCADE,
    day         INTEGER NOT NULL,
    up_ms       INTEGER NOT NULL,
    down_ms     INTEGER NOT NULL,
    incidents   INTEGER NOT NULL,
    all_up_ms   INTEGER NOT NULL,
    all_down_ms INTEGER NOT NULL,
    PRIMARY KEY (endpoint_id, day)
) STRICT, WITHOUT ROWID;
