-- Where alerts are told. `url` and the values of `headers` are secrets.
CREATE TABLE channels (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    name          TEXT NOT NULL,
    -- The name in lower case: labels name channels in any.
    name_key      TEXT NOT NULL UNIQUE,
    kind          TEXT NOT NULL CHECK (kind IN
        ('webhook', 'discord', 'slack', 'teams', 'ntfy', 'telegram', 'email')),
    url           TEXT NOT NULL,
    -- A JSON object.
    headers       TEXT NOT NULL,
    enabled       INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    -- Since when no try has succeeded; empty while the last one did.
    failing_since INTEGER,
    last_error    TEXT,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
) STRICT;

-- Which alerts a channel is told; without a rule, all. Comma lists; an empty one matches all.
CREATE TABLE channel_rules (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    channel_id INTEGER NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    sources    TEXT NOT NULL,
    severities TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX channel_rules_of ON channel_rules (channel_id);

-- Subscriptions to events. `url` and `secret` are secrets.
CREATE TABLE webhooks (
    id                   TEXT PRIMARY KEY,
    name                 TEXT NOT NULL,
    url                  TEXT NOT NULL,
    secret               TEXT,
    -- A comma list, or `*`.
    event_types          TEXT NOT NULL,
    last_delivery_status TEXT CHECK (last_delivery_status IN ('delivered', 'failed')),
    last_delivery_at     INTEGER,
    failure_count        INTEGER NOT NULL,
    created_at           INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Messages to be delivered, and those that were or could not be. Of a lane and an entity the first
-- that is pending has `next_try_at`; the others wait for it.
CREATE TABLE notifications (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    -- `channel/<id>` or `webhook/<id>`, which may be gone by now.
    lane        TEXT NOT NULL,
    -- What the channel or subscription was called.
    target      TEXT NOT NULL,
    -- Whose messages are kept in order: `<entity type>/<entity id>`.
    entity      TEXT NOT NULL,
    event       TEXT NOT NULL,
    -- The same at every try.
    key         TEXT NOT NULL UNIQUE,
    -- JSON, as it was when it happened.
    payload     TEXT NOT NULL,
    status      TEXT NOT NULL CHECK (status IN ('pending', 'delivered', 'dead')),
    attempts    INTEGER NOT NULL,
    last_error  TEXT,
    created_at  INTEGER NOT NULL,
    next_try_at INTEGER,
    -- When it was delivered or given up.
    ended_at    INTEGER,
    CHECK (next_try_at IS NULL OR status = 'pending'),
    CHECK ((ended_at IS NULL) = (status = 'pending'))
) STRICT;

CREATE INDEX notifications_waiting ON notifications (lane, entity, id) WHERE status = 'pending';
CREATE INDEX notifications_due ON notifications (lane, next_try_at, id)
    WHERE next_try_at IS NOT NULL;
CREATE INDEX notifications_dead ON notifications (lane, id) WHERE status = 'dead';
CREATE INDEX notifications_ended ON notifications (status, ended_at) WHERE ended_at IS NOT NULL;

-- Which channels were told that an alert began: they are told that it ended.
CREATE TABLE told_alerts (
    -- `<source>/<alert type>/<entity type>/<entity id>`.
    alert      TEXT NOT NULL,
    channel_id INTEGER NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    at         INTEGER NOT NULL,
    PRIMARY KEY (alert, channel_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX told_alerts_of ON told_alerts (channel_id);
