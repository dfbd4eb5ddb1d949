-- Alerts, and for each that ended by itself a second row that says so: status 'resolved' without
-- resolved_at.
CREATE TABLE alerts (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    source          TEXT NOT NULL,
    alert_type      TEXT NOT NULL,
    severity        TEXT NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    status          TEXT NOT NULL CHECK (status IN ('active', 'resolved', 'silenced')),
    message         TEXT NOT NULL,
    entity_type     TEXT NOT NULL,
    entity_id       INTEGER NOT NULL,
    entity_name     TEXT NOT NULL,
    -- A JSON object.
    details         TEXT NOT NULL,
    resolved_by_id  INTEGER,
    fired_at        INTEGER NOT NULL,
    resolved_at     INTEGER,
    acknowledged_at INTEGER,
    acknowledged_by TEXT,
    escalated_at    INTEGER,
    created_at      INTEGER NOT NULL,
    -- What the engine remembers of it, as JSON.
    course          TEXT NOT NULL
) STRICT;

-- One outage, one alert.
CREATE UNIQUE INDEX alerts_open ON alerts (source, alert_type, entity_type, entity_id)
    WHERE status IN ('active', 'silenced');
CREATE INDEX alerts_identity ON alerts (source, alert_type, entity_type, entity_id, id);
CREATE INDEX alerts_newest ON alerts (fired_at, id);
CREATE INDEX alerts_status ON alerts (status, fired_at, id);
CREATE INDEX alerts_entity ON alerts (entity_type, entity_id, fired_at, id);

CREATE TABLE silences (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    entity_type  TEXT,
    entity_id    INTEGER,
    source       TEXT,
    reason       TEXT,
    starts_at    INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    cancelled_at INTEGER
) STRICT;

CREATE INDEX silences_expiry ON silences (expires_at);
