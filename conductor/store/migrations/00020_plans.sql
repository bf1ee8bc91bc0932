-- +goose Up
-- Reservations of nodes by what they have to be. A node shows its own in
-- nodes.allocation_uuid.
CREATE TABLE allocations (
    id               INTEGER PRIMARY KEY,
    uuid             TEXT NOT NULL UNIQUE,
    name             TEXT UNIQUE,
    node_id          INTEGER UNIQUE REFERENCES nodes (id) ON DELETE CASCADE,
    state            TEXT NOT NULL,
    owner            TEXT,
    last_error       TEXT,
    resource_class   TEXT,
    traits           TEXT NOT NULL DEFAULT '[]',
    candidate_nodes  TEXT NOT NULL DEFAULT '[]',
    extra            TEXT NOT NULL DEFAULT '{}',
    created_at       TIMESTAMP NOT NULL,
    updated_at       TIMESTAMP
);
CREATE INDEX allocations_state ON allocations (state);

-- Deploy steps that a trait of an instance stands for: the template's name.
CREATE TABLE deploy_templates (
    id          INTEGER PRIMARY KEY,
    uuid        TEXT NOT NULL UNIQUE,
    name        TEXT NOT NULL UNIQUE,
    steps       TEXT NOT NULL DEFAULT '[]',
    extra       TEXT NOT NULL DEFAULT '{}',
    created_at  TIMESTAMP NOT NULL,
    updated_at  TIMESTAMP
);

CREATE TABLE runbooks (
    id               INTEGER PRIMARY KEY,
    uuid             TEXT NOT NULL UNIQUE,
    name             TEXT NOT NULL UNIQUE,
    description      TEXT,
    public           BOOLEAN NOT NULL DEFAULT FALSE,
    owner            TEXT,
    disable_ramdisk  BOOLEAN NOT NULL DEFAULT FALSE,
    steps            TEXT NOT NULL DEFAULT '[]',
    traits           TEXT NOT NULL DEFAULT '[]',
    extra            TEXT NOT NULL DEFAULT '{}',
    created_at       TIMESTAMP NOT NULL,
    updated_at       TIMESTAMP
);

CREATE TABLE inspection_rules (
    id           INTEGER PRIMARY KEY,
    uuid         TEXT NOT NULL UNIQUE,
    priority     INTEGER NOT NULL DEFAULT 0,
    description  TEXT,
    sensitive    BOOLEAN NOT NULL DEFAULT FALSE,
    phase        TEXT NOT NULL DEFAULT 'main',
    conditions   TEXT NOT NULL DEFAULT '[]',
    actions      TEXT NOT NULL DEFAULT '[]',
    created_at   TIMESTAMP NOT NULL,
    updated_at   TIMESTAMP
);

-- How what was done with a node ended.
CREATE TABLE node_history (
    id                      INTEGER PRIMARY KEY,
    uuid                    TEXT NOT NULL UNIQUE,
    node_id                 INTEGER NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    conductor               TEXT,
    event_type              TEXT,
    severity                TEXT NOT NULL,
    event                   TEXT NOT NULL,
    user                    TEXT,
    project                 TEXT,
    state                   TEXT,
    target_provision_state  TEXT,
    duration_seconds        INTEGER,
    created_at              TIMESTAMP NOT NULL
);
CREATE INDEX node_history_node ON node_history (node_id);

-- +goose Down
DROP TABLE node_history;
DROP TABLE inspection_rules;
DROP TABLE runbooks;
DROP TABLE deploy_templates;
DROP TABLE allocations;
