-- +goose Up
CREATE TABLE chassis (
    id           INTEGER PRIMARY KEY,
    uuid         TEXT NOT NULL UNIQUE,
    description  TEXT,
    extra        TEXT NOT NULL DEFAULT '{}',
    created_at   TIMESTAMP NOT NULL,
    updated_at   TIMESTAMP
);
CREATE INDEX nodes_chassis ON nodes (chassis_uuid);

CREATE TABLE volume_connectors (
    id            INTEGER PRIMARY KEY,
    uuid          TEXT NOT NULL UNIQUE,
    node_id       INTEGER NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    type          TEXT NOT NULL,
    connector_id  TEXT NOT NULL,
    extra         TEXT NOT NULL DEFAULT '{}',
    created_at    TIMESTAMP NOT NULL,
    updated_at    TIMESTAMP,
    UNIQUE (type, connector_id)
);
CREATE INDEX volume_connectors_node ON volume_connectors (node_id);

CREATE TABLE volume_targets (
    id           INTEGER PRIMARY KEY,
    uuid         TEXT NOT NULL UNIQUE,
    node_id      INTEGER NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    volume_type  TEXT NOT NULL,
    boot_index   INTEGER NOT NULL,
    volume_id    TEXT NOT NULL,
    properties   TEXT NOT NULL DEFAULT '{}',
    extra        TEXT NOT NULL DEFAULT '{}',
    created_at   TIMESTAMP NOT NULL,
    updated_at   TIMESTAMP,
    UNIQUE (node_id, boot_index)
);

-- +goose Down
DROP TABLE volume_targets;
DROP TABLE volume_connectors;
DROP INDEX nodes_chassis;
DROP TABLE chassis;
