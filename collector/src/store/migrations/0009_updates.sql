-- What was found for the image of a container, one row each. It outlives a recreate, as the container's
-- row does; `external_id` is the incarnation that was looked at.
CREATE TABLE update_checks (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    container_id     INTEGER NOT NULL UNIQUE REFERENCES containers (id) ON DELETE CASCADE,
    external_id      TEXT NOT NULL,
    -- As the container was asked for.
    image            TEXT NOT NULL,
    registry         TEXT NOT NULL,
    current_tag      TEXT NOT NULL,
    current_digest   TEXT NOT NULL,
    status           TEXT NOT NULL CHECK (status IN
        ('available', 'up_to_date', 'untracked', 'unknown')),
    update_type      TEXT CHECK (update_type IN ('major', 'minor', 'patch', 'digest_only')),
    latest_tag       TEXT NOT NULL,
    latest_digest    TEXT NOT NULL,
    why              TEXT NOT NULL,
    update_command   TEXT,
    rollback_command TEXT,
    detected_at      INTEGER NOT NULL,
    checked_at       INTEGER,
    error            TEXT,
    stale            INTEGER NOT NULL,
    scan_id          INTEGER,
    -- What the container's labels asked for.
    alert_on         TEXT NOT NULL CHECK (alert_on IN ('all', 'critical', 'none')),
    label_pin        TEXT,
    tag_include      TEXT,
    tag_exclude      TEXT
) STRICT;

-- Containers that users hold at what they run.
CREATE TABLE update_pins (
    container_id INTEGER PRIMARY KEY REFERENCES containers (id) ON DELETE CASCADE,
    tag          TEXT NOT NULL,
    digest       TEXT NOT NULL,
    reason       TEXT NOT NULL,
    pinned_at    INTEGER NOT NULL
) STRICT;

CREATE TABLE update_exclusions (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    pattern      TEXT NOT NULL,
    pattern_type TEXT NOT NULL CHECK (pattern_type IN ('image', 'tag')),
    created_at   INTEGER NOT NULL,
    UNIQUE (pattern_type, pattern)
) STRICT;

CREATE TABLE update_scans (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    status       TEXT NOT NULL CHECK (status IN ('running', 'completed', 'failed')),
    started_at   INTEGER NOT NULL,
    completed_at INTEGER,
    containers   INTEGER NOT NULL DEFAULT 0,
    found        INTEGER NOT NULL DEFAULT 0,
    errors       INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The images that an index holds, by its digest: they never change, so they are asked for once.
CREATE TABLE update_indexes (
    digest   TEXT PRIMARY KEY,
    -- A JSON list; empty for what is no index.
    children TEXT NOT NULL,
    seen_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
