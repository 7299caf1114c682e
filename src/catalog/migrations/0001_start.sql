-- Instants are nanoseconds since the Unix epoch. Ids are hex or ULID text. Lists that are never searched are JSON.

CREATE TABLE vaults (
    name       TEXT PRIMARY KEY,
    repository TEXT,
    url        TEXT
) STRICT;

CREATE TABLE plans (
    name       TEXT PRIMARY KEY,
    first_seen INTEGER NOT NULL
) STRICT;

CREATE TABLE records (
    id       TEXT PRIMARY KEY,
    vault    TEXT NOT NULL REFERENCES vaults (name),
    host     TEXT NOT NULL,
    chain    TEXT NOT NULL,
    seq      INTEGER NOT NULL,
    prev     TEXT,
    digest   TEXT NOT NULL,
    kind     TEXT NOT NULL,
    finished INTEGER NOT NULL
) STRICT;

-- A run that has no record yet is 'running'.
CREATE TABLE runs (
    id        TEXT PRIMARY KEY,
    kind      TEXT NOT NULL,
    host      TEXT NOT NULL,
    vault     TEXT NOT NULL REFERENCES vaults (name),
    plan      TEXT REFERENCES plans (name),
    due       INTEGER,
    started   INTEGER NOT NULL,
    finished  INTEGER,
    status    TEXT NOT NULL CHECK (status IN ('running', 'ok', 'partial', 'failed')),
    snapshot  TEXT,
    simulated INTEGER NOT NULL CHECK (simulated IN (0, 1)),
    figures   TEXT NOT NULL,
    problems  TEXT NOT NULL,
    omitted   INTEGER NOT NULL,
    CHECK ((status = 'running') = (finished IS NULL))
) STRICT;
CREATE INDEX runs_by_plan ON runs (plan, kind, started);
CREATE INDEX runs_by_snapshot ON runs (snapshot) WHERE snapshot IS NOT NULL;

CREATE TABLE run_tiers (
    run  TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    tier TEXT NOT NULL,
    PRIMARY KEY (run, tier)
) STRICT, WITHOUT ROWID;

-- Every due instant has one fate: a run, or the reason why it was missed.
CREATE TABLE dues (
    host   TEXT NOT NULL,
    plan   TEXT NOT NULL REFERENCES plans (name),
    due    INTEGER NOT NULL,
    run    TEXT REFERENCES runs (id) ON DELETE CASCADE,
    missed TEXT CHECK (missed IN ('downtime', 'overlap')),
    PRIMARY KEY (host, plan, due),
    CHECK ((run IS NULL) <> (missed IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE missed_tiers (
    host TEXT NOT NULL,
    plan TEXT NOT NULL,
    due  INTEGER NOT NULL,
    tier TEXT NOT NULL,
    PRIMARY KEY (host, plan, due, tier),
    FOREIGN KEY (host, plan, due) REFERENCES dues (host, plan, due) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- As the vaults list them.
CREATE TABLE snapshots (
    vault    TEXT NOT NULL REFERENCES vaults (name),
    id       TEXT NOT NULL,
    time     INTEGER NOT NULL,
    tree     TEXT NOT NULL,
    host     TEXT NOT NULL,
    plan     TEXT,
    tiers    TEXT NOT NULL,
    original TEXT,
    PRIMARY KEY (vault, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX snapshots_by_plan ON snapshots (plan, vault, time);

CREATE TABLE verifications (
    vault    TEXT NOT NULL REFERENCES vaults (name),
    snapshot TEXT NOT NULL,
    proof    TEXT NOT NULL CHECK (proof IN ('read', 'drill')),
    at       INTEGER NOT NULL,
    record   TEXT NOT NULL REFERENCES records (id),
    PRIMARY KEY (vault, snapshot, proof, record)
) STRICT, WITHOUT ROWID;

CREATE TABLE copies (
    vault        TEXT NOT NULL REFERENCES vaults (name),
    copy         TEXT NOT NULL,
    origin_vault TEXT NOT NULL,
    origin       TEXT NOT NULL,
    completeness TEXT NOT NULL CHECK (completeness IN ('complete', 'partial', 'unknown')),
    arrived      INTEGER NOT NULL,
    record       TEXT NOT NULL REFERENCES records (id),
    PRIMARY KEY (vault, copy)
) STRICT, WITHOUT ROWID;

CREATE TABLE drills (
    record    TEXT PRIMARY KEY REFERENCES records (id),
    vault     TEXT NOT NULL REFERENCES vaults (name),
    plan      TEXT,
    number    INTEGER NOT NULL,
    runbook   TEXT NOT NULL,
    scenario  TEXT NOT NULL,
    snapshot  TEXT,
    verdict   TEXT NOT NULL,
    rta_ms    INTEGER,
    rpa_ms    INTEGER,
    exercised INTEGER NOT NULL,
    steps     INTEGER NOT NULL,
    evidence  TEXT,
    started   INTEGER NOT NULL,
    finished  INTEGER NOT NULL
) STRICT;
