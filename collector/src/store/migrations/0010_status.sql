-- What the status page shows. `match_all_type` makes a component of all monitors of that type.
CREATE TABLE status_components (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    match_all_type  TEXT CHECK (match_all_type IN
        ('container', 'endpoint', 'heartbeat', 'certificate')),
    display_name    TEXT NOT NULL,
    display_order   INTEGER NOT NULL,
    visible         INTEGER NOT NULL,
    auto_incident   INTEGER NOT NULL,
    -- What a user set.
    status_override TEXT CHECK (status_override IN
        ('operational', 'degraded', 'partial_outage', 'major_outage', 'under_maintenance')),
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT;

-- No foreign key: a monitor belongs to its own dimension and may be gone.
CREATE TABLE status_monitors (
    component_id INTEGER NOT NULL REFERENCES status_components (id) ON DELETE CASCADE,
    type         TEXT NOT NULL CHECK (type IN
        ('container', 'endpoint', 'heartbeat', 'certificate')),
    monitor_id   INTEGER NOT NULL,
    PRIMARY KEY (component_id, type, monitor_id)
) STRICT, WITHOUT ROWID;

-- Alerts that opened an incident of their component or were added to one, as long as they last.
CREATE TABLE status_told (
    component_id INTEGER NOT NULL REFERENCES status_components (id) ON DELETE CASCADE,
    alert_id     INTEGER NOT NULL,
    PRIMARY KEY (component_id, alert_id)
) STRICT, WITHOUT ROWID;

-- Milliseconds of each day (in UTC, counted from 1970-01-01) in each status. What is missing of a day
-- is unknown.
CREATE TABLE status_days (
    component_id      INTEGER NOT NULL REFERENCES status_components (id) ON DELETE CASCADE,
    day               INTEGER NOT NULL,
    operational       INTEGER NOT NULL,
    degraded          INTEGER NOT NULL,
    partial_outage    INTEGER NOT NULL,
    major_outage      INTEGER NOT NULL,
    under_maintenance INTEGER NOT NULL,
    PRIMARY KEY (component_id, day)
) STRICT, WITHOUT ROWID;

CREATE TABLE status_incidents (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    title             TEXT NOT NULL,
    severity          TEXT NOT NULL CHECK (severity IN ('minor', 'major', 'critical')),
    status            TEXT NOT NULL CHECK (status IN
        ('investigating', 'identified', 'monitoring', 'resolved')),
    is_maintenance    INTEGER NOT NULL,
    -- The component whose alerts opened it.
    auto_component_id INTEGER REFERENCES status_components (id) ON DELETE SET NULL,
    created_at        INTEGER NOT NULL,
    resolved_at       INTEGER,
    updated_at        INTEGER NOT NULL,
    CHECK ((resolved_at IS NULL) = (status <> 'resolved'))
) STRICT;

CREATE INDEX status_incidents_changed ON status_incidents (updated_at, id);
CREATE INDEX status_incidents_open ON status_incidents (id) WHERE resolved_at IS NULL;
CREATE INDEX status_incidents_resolved ON status_incidents (resolved_at)
    WHERE resolved_at IS NOT NULL;
CREATE INDEX status_incidents_auto ON status_incidents (auto_component_id)
    WHERE auto_component_id IS NOT NULL;

CREATE TABLE status_incident_components (
    incident_id  INTEGER NOT NULL REFERENCES status_incidents (id) ON DELETE CASCADE,
    component_id INTEGER NOT NULL REFERENCES status_components (id) ON DELETE CASCADE,
    PRIMARY KEY (incident_id, component_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX status_incident_components_of ON status_incident_components (component_id);

CREATE TABLE status_incident_updates (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    incident_id INTEGER NOT NULL REFERENCES status_incidents (id) ON DELETE CASCADE,
    status      TEXT NOT NULL CHECK (status IN
        ('investigating', 'identified', 'monitoring', 'resolved')),
    message     TEXT NOT NULL,
    is_auto     INTEGER NOT NULL,
    alert_id    INTEGER,
    created_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX status_incident_updates_of ON status_incident_updates (incident_id, id);

-- A window is under way by time alone; `started_at` and `ended_at` say what was announced of it.
CREATE TABLE status_maintenance (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    title       TEXT NOT NULL,
    description TEXT NOT NULL,
    starts_at   INTEGER NOT NULL,
    ends_at     INTEGER NOT NULL,
    incident_id INTEGER REFERENCES status_incidents (id) ON DELETE SET NULL,
    started_at  INTEGER,
    ended_at    INTEGER,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    CHECK (starts_at < ends_at)
) STRICT;

CREATE INDEX status_maintenance_times ON status_maintenance (starts_at, id);
CREATE INDEX status_maintenance_ahead ON status_maintenance (starts_at) WHERE ended_at IS NULL;
CREATE INDEX status_maintenance_incident ON status_maintenance (incident_id)
    WHERE incident_id IS NOT NULL;

CREATE TABLE status_maintenance_components (
    maintenance_id INTEGER NOT NULL REFERENCES status_maintenance (id) ON DELETE CASCADE,
    component_id   INTEGER NOT NULL REFERENCES status_components (id) ON DELETE CASCADE,
    PRIMARY KEY (maintenance_id, component_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX status_maintenance_components_of ON status_maintenance_components (component_id);

-- Who is told of incidents. `email` and the tokens are secrets; who never confirmed goes soon.
CREATE TABLE status_subscribers (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    -- In lower case.
    email             TEXT NOT NULL UNIQUE,
    confirm_token     TEXT NOT NULL UNIQUE,
    confirm_until     INTEGER NOT NULL,
    unsubscribe_token TEXT NOT NULL UNIQUE,
    confirmed_at      INTEGER,
    created_at        INTEGER NOT NULL
) STRICT;

-- What is written, once for all who are told. It goes with the last of its mails.
CREATE TABLE status_letters (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    subject    TEXT NOT NULL,
    text       TEXT NOT NULL,
    -- To a subscriber, who is told how to end that; else to one who has to confirm.
    is_news    INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- Letters that wait, one row for each subscriber. A delivered one is deleted.
CREATE TABLE status_mails (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    subscriber_id INTEGER NOT NULL REFERENCES status_subscribers (id) ON DELETE CASCADE,
    letter_id     INTEGER NOT NULL REFERENCES status_letters (id) ON DELETE CASCADE,
    attempts      INTEGER NOT NULL,
    next_try_at   INTEGER NOT NULL
) STRICT;

CREATE INDEX status_mails_due ON status_mails (next_try_at, id);
CREATE INDEX status_mails_of ON status_mails (subscriber_id);
CREATE INDEX status_mails_with ON status_mails (letter_id);

CREATE TRIGGER status_letters_sent AFTER DELETE ON status_mails
    WHEN NOT EXISTS (SELECT 1 FROM status_mails WHERE letter_id = old.letter_id)
BEGIN
    DELETE FROM status_letters WHERE id = old.letter_id;
END;
