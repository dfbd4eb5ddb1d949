-- What was used: container 0 is the host. `cpu` is in hundredths of a percent, memory in KiB (the
-- kernel counts pages), counters in bytes, rates in bytes per second; `swap` (KiB), `load` and `disk`
-- (hundredths) are the host's alone.
--
-- Samples and minutes are clustered by time, so that a round over all containers writes a few
-- neighbouring pages instead of one for each container; what one container used is read minute by
-- minute. They are gone soon after their container is.
CREATE TABLE resource_samples (
    minute           INTEGER NOT NULL,
    container_id     INTEGER NOT NULL,
    -- Milliseconds within the minute.
    ms               INTEGER NOT NULL,
    cpu              INTEGER NOT NULL,
    mem              INTEGER,
    mem_limit        INTEGER,
    net_rx           INTEGER,
    net_tx           INTEGER,
    block_read       INTEGER,
    block_write      INTEGER,
    net_rx_rate      INTEGER,
    net_tx_rate      INTEGER,
    block_read_rate  INTEGER,
    block_write_rate INTEGER,
    swap             INTEGER,
    load             INTEGER,
    disk             INTEGER,
    PRIMARY KEY (minute, container_id, ms)
) STRICT, WITHOUT ROWID;

-- Closed minutes. A 95th percentile that is the maximum is NULL. Limit and counters are the last.
CREATE TABLE resource_minutes (
    minute           INTEGER NOT NULL,
    container_id     INTEGER NOT NULL,
    samples          INTEGER NOT NULL,
    cpu_mean         INTEGER NOT NULL,
    cpu_min          INTEGER NOT NULL,
    cpu_max          INTEGER NOT NULL,
    cpu_p95          INTEGER,
    mem_mean         INTEGER,
    mem_min          INTEGER,
    mem_max          INTEGER,
    mem_p95          INTEGER,
    mem_limit        INTEGER,
    net_rx           INTEGER,
    net_tx           INTEGER,
    block_read       INTEGER,
    block_write      INTEGER,
    net_rx_rate      INTEGER,
    net_tx_rate      INTEGER,
    block_read_rate  INTEGER,
    block_write_rate INTEGER,
    swap             INTEGER,
    load             INTEGER,
    disk             INTEGER,
    PRIMARY KEY (minute, container_id)
) STRICT, WITHOUT ROWID;

-- Closed hours, clustered by container: one is read for weeks.
CREATE TABLE resource_hours (
    container_id     INTEGER NOT NULL,
    hour             INTEGER NOT NULL,
    samples          INTEGER NOT NULL,
    cpu_mean         INTEGER NOT NULL,
    cpu_min          INTEGER NOT NULL,
    cpu_max          INTEGER NOT NULL,
    cpu_p95          INTEGER,
    mem_mean         INTEGER,
    mem_min          INTEGER,
    mem_max          INTEGER,
    mem_p95          INTEGER,
    mem_limit        INTEGER,
    net_rx           INTEGER,
    net_tx           INTEGER,
    block_read       INTEGER,
    block_write      INTEGER,
    net_rx_rate      INTEGER,
    net_tx_rate      INTEGER,
    block_read_rate  INTEGER,
    block_write_rate INTEGER,
    swap             INTEGER,
    load             INTEGER,
    disk             INTEGER,
    PRIMARY KEY (container_id, hour)
) STRICT, WITHOUT ROWID;

-- All that a ranking of containers reads.
CREATE INDEX resource_hours_ranked ON resource_hours
    (container_id, hour, samples, cpu_mean, cpu_max, mem_mean, mem_max);

-- No foreign key: the host is no container.
CREATE TRIGGER resource_hours_go AFTER DELETE ON containers BEGIN
    DELETE FROM resource_hours WHERE container_id = OLD.id;
END;

-- Real filesystems of the host. `gone_at` while one is not mounted.
CREATE TABLE filesystems (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    mount   TEXT NOT NULL UNIQUE,
    gone_at INTEGER
) STRICT;

-- Thresholds, percent. A container without a row has the defaults.
CREATE TABLE resource_thresholds (
    container_id    INTEGER PRIMARY KEY REFERENCES containers (id) ON DELETE CASCADE,
    cpu             REAL NOT NULL,
    mem             REAL NOT NULL,
    enabled         INTEGER NOT NULL,
    last_alerted_at INTEGER
) STRICT;

CREATE TABLE host_thresholds (
    id      INTEGER PRIMARY KEY CHECK (id = 0),
    cpu     REAL NOT NULL,
    mem     REAL NOT NULL,
    disk    REAL NOT NULL,
    inode   REAL NOT NULL,
    enabled INTEGER NOT NULL
) STRICT;

-- What is beyond its threshold, or was at its last sample. `subject_id` is a container, 0 for the
-- host, or a filesystem where the metric is `disk` or `inode`.
CREATE TABLE resource_standings (
    metric     TEXT NOT NULL CHECK (metric IN ('cpu', 'memory', 'disk', 'inode')),
    subject_id INTEGER NOT NULL,
    since_at   INTEGER NOT NULL,
    fired_at   INTEGER,
    -- Samples in a row that speak for a change.
    streak     INTEGER NOT NULL,
    value      REAL NOT NULL,
    threshold  REAL NOT NULL,
    PRIMARY KEY (metric, subject_id)
) STRICT, WITHOUT ROWID;
