-- +goose Up
-- Bundles that agents are offered. Their bytes are in files beside the database.
CREATE TABLE plugins (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL,
    version    TEXT NOT NULL,
    sdk        TEXT NOT NULL,
    size       INTEGER NOT NULL,
    sha256     TEXT NOT NULL,
    manifest   TEXT NOT NULL,
    key_id     TEXT NOT NULL,
    verified   BOOLEAN NOT NULL,
    drivers    TEXT NOT NULL,
    traits     TEXT NOT NULL,
    dmi_vendor TEXT NOT NULL,
    required   BOOLEAN NOT NULL,
    pinned     BOOLEAN NOT NULL,
    disabled   BOOLEAN NOT NULL,
    created_at TIMESTAMP NOT NULL,
    updated_at TIMESTAMP,
    UNIQUE (name, version)
);
CREATE UNIQUE INDEX plugins_pinned ON plugins (name) WHERE pinned;

-- What the last agent of a node said of its plugins.
CREATE TABLE node_plugins (
    node_id     INTEGER PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE,
    agent       TEXT NOT NULL, -- digest of its token
    reports     INTEGER NOT NULL, -- that this agent has made
    reported_at TIMESTAMP NOT NULL,
    loaded      TEXT NOT NULL,
    refused     TEXT NOT NULL,
    set_aside   TEXT NOT NULL,
    not_here    TEXT NOT NULL
);

-- +goose Down
DROP TABLE node_plugins;
DROP TABLE plugins;
