-- +goose Up
CREATE TABLE portgroups (
    id                          INTEGER PRIMARY KEY,
    uuid                        TEXT NOT NULL UNIQUE,
    name                        TEXT UNIQUE,
    address                     TEXT UNIQUE,
    node_id                     INTEGER NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    mode                        TEXT NOT NULL,
    properties                  TEXT NOT NULL DEFAULT '{}',
    standalone_ports_supported  BOOLEAN NOT NULL DEFAULT TRUE,
    physical_network            TEXT,
    category                    TEXT,
    dynamic_portgroup           BOOLEAN NOT NULL DEFAULT FALSE,
    extra                       TEXT NOT NULL DEFAULT '{}',
    internal_info               TEXT NOT NULL DEFAULT '{}',
    created_at                  TIMESTAMP NOT NULL,
    updated_at                  TIMESTAMP
);
CREATE INDEX portgroups_node ON portgroups (node_id);

ALTER TABLE ports ADD COLUMN portgroup_id INTEGER REFERENCES portgroups (id);
ALTER TABLE ports ADD COLUMN name TEXT;
ALTER TABLE ports ADD COLUMN description TEXT;
ALTER TABLE ports ADD COLUMN vendor TEXT;
ALTER TABLE ports ADD COLUMN category TEXT;
ALTER TABLE ports ADD COLUMN available_for_dynamic_portgroup BOOLEAN NOT NULL DEFAULT TRUE;
CREATE UNIQUE INDEX ports_name ON ports (name);
CREATE INDEX ports_portgroup ON ports (portgroup_id);

-- +goose Down
DROP INDEX ports_portgroup;
DROP INDEX ports_name;
ALTER TABLE ports DROP COLUMN portgroup_id;
ALTER TABLE ports DROP COLUMN name;
ALTER TABLE ports DROP COLUMN description;
ALTER TABLE ports DROP COLUMN vendor;
ALTER TABLE ports DROP COLUMN category;
ALTER TABLE ports DROP COLUMN available_for_dynamic_portgroup;
DROP TABLE portgroups;
