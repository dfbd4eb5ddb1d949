-- Servers whose certificates are watched. The result of the newest check is kept here too, so that
-- a list is one query.
CREATE TABLE certificate_monitors (
    id                     INTEGER PRIMARY KEY AUTOINCREMENT,
    hostname               TEXT NOT NULL,
    port                   INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
    source                 TEXT NOT NULL CHECK (source IN ('auto', 'label', 'standalone')),
    endpoint_id            INTEGER,
    external_id            TEXT NOT NULL,
    check_interval_seconds INTEGER NOT NULL,
    -- Days as a JSON array, in falling order.
    warning_thresholds     TEXT NOT NULL,
    -- What a user set. NULL: what the endpoint sends, else the host name. Empty: none is asked for.
    server_name            TEXT,
    endpoint_server_name   TEXT,
    starttls               TEXT CHECK (starttls IN ('smtp', 'imap', 'postgres')),
    ca_certificates        TEXT,
    created_at             INTEGER NOT NULL,
    revision               INTEGER NOT NULL DEFAULT 0,
    status                 TEXT NOT NULL CHECK (status IN
        ('valid', 'expiring', 'expired', 'error', 'unknown')),
    status_since           INTEGER NOT NULL,
    last_check_at          INTEGER,
    next_check_at          INTEGER NOT NULL,
    last_error             TEXT,
    failures               INTEGER NOT NULL,
    -- What was told and has not ended, as JSON.
    alerts                 TEXT NOT NULL,
    last_check_id          INTEGER,
    -- Since then nothing asks for it: it is not shown and not checked, and comes back as it was.
    unwanted_since         INTEGER,
    UNIQUE (hostname, port)
) STRICT;

CREATE INDEX certificate_monitors_due ON certificate_monitors (next_check_at);

-- What checks found: the whole outcome as JSON, with verdict, facts and chain. Checks that found the
-- same share a row, and most do.
CREATE TABLE certificate_findings (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    monitor_id INTEGER NOT NULL REFERENCES certificate_monitors (id) ON DELETE CASCADE,
    finding    TEXT NOT NULL
) STRICT;

CREATE INDEX certificate_findings_monitor ON certificate_findings (monitor_id);

CREATE TABLE certificate_checks (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    monitor_id INTEGER NOT NULL REFERENCES certificate_monitors (id) ON DELETE CASCADE,
    checked_at INTEGER NOT NULL,
    finding_id INTEGER NOT NULL REFERENCES certificate_findings (id) ON DELETE CASCADE
) STRICT;

CREATE INDEX certificate_checks_newest ON certificate_checks (monitor_id, id);
CREATE INDEX certificate_checks_age ON certificate_checks (checked_at);
CREATE INDEX certificate_checks_finding ON certificate_checks (finding_id);
