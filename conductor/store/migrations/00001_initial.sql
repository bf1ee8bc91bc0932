-- +goose Up
CREATE TABLE conductors (
    id               INTEGER PRIMARY KEY,
    hostname         TEXT NOT NULL UNIQUE,
    conductor_group  TEXT NOT NULL DEFAULT '',
    drivers          TEXT NOT NULL DEFAULT '[]',
    online           BOOLEAN NOT NULL DEFAULT TRUE,
    created_at       TIMESTAMP NOT NULL,
    updated_at       TIMESTAMP
);

CREATE TABLE nodes (
    id                       INTEGER PRIMARY KEY,
    uuid                     TEXT NOT NULL UNIQUE,
    name                     TEXT UNIQUE,
    instance_uuid            TEXT UNIQUE,
    chassis_uuid             TEXT,
    driver                   TEXT NOT NULL,
    driver_info              TEXT NOT NULL DEFAULT '{}',
    driver_internal_info     TEXT NOT NULL DEFAULT '{}',
    properties               TEXT NOT NULL DEFAULT '{}',
    instance_info            TEXT NOT NULL DEFAULT '{}',
    extra                    TEXT NOT NULL DEFAULT '{}',
    power_state              TEXT,
    target_power_state       TEXT,
    provision_state          TEXT NOT NULL,
    target_provision_state   TEXT,
    provision_updated_at     TIMESTAMP,
    last_error               TEXT,
    clean_step               TEXT NOT NULL DEFAULT '{}',
    deploy_step              TEXT NOT NULL DEFAULT '{}',
    raid_config              TEXT NOT NULL DEFAULT '{}',
    target_raid_config       TEXT NOT NULL DEFAULT '{}',
    network_data             TEXT NOT NULL DEFAULT '{}',
    resource_class           TEXT,
    reservation              TEXT,
    conductor_group          TEXT NOT NULL DEFAULT '',
    maintenance              BOOLEAN NOT NULL DEFAULT FALSE,
    maintenance_reason       TEXT,
    fault                    TEXT,
    console_enabled          BOOLEAN NOT NULL DEFAULT FALSE,
    inspection_started_at    TIMESTAMP,
    inspection_finished_at   TIMESTAMP,
    automated_clean          BOOLEAN,
    protected                BOOLEAN NOT NULL DEFAULT FALSE,
    protected_reason         TEXT,
    owner                    TEXT,
    lessee                   TEXT,
    shard                    TEXT,
    description              TEXT,
    retired                  BOOLEAN NOT NULL DEFAULT FALSE,
    retired_reason           TEXT,
    boot_mode                TEXT,
    secure_boot              BOOLEAN,
    bios_interface           TEXT,
    boot_interface           TEXT,
    console_interface        TEXT,
    deploy_interface         TEXT,
    inspect_interface        TEXT,
    management_interface     TEXT,
    network_interface        TEXT,
    power_interface          TEXT,
    raid_interface           TEXT,
    rescue_interface         TEXT,
    storage_interface        TEXT,
    vendor_interface         TEXT,
    created_at               TIMESTAMP NOT NULL,
    updated_at               TIMESTAMP
);
CREATE INDEX nodes_provision_state ON nodes (provision_state);
CREATE INDEX nodes_reservation ON nodes (reservation);
CREATE INDEX nodes_driver ON nodes (driver);

CREATE TABLE ports (
    id                     INTEGER PRIMARY KEY,
    uuid                   TEXT NOT NULL UNIQUE,
    address                TEXT NOT NULL UNIQUE,
    node_id                INTEGER NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    pxe_enabled            BOOLEAN NOT NULL DEFAULT TRUE,
    local_link_connection  TEXT NOT NULL DEFAULT '{}',
    physical_network       TEXT,
    is_smartnic            BOOLEAN NOT NULL DEFAULT FALSE,
    extra                  TEXT NOT NULL DEFAULT '{}',
    internal_info          TEXT NOT NULL DEFAULT '{}',
    created_at             TIMESTAMP NOT NULL,
    updated_at             TIMESTAMP
);
CREATE INDEX ports_node ON ports (node_id);

-- What was seen of a node and when: network boot, lookup, steps. For operators.
CREATE TABLE node_events (
    id       INTEGER PRIMARY KEY,
    node_id  INTEGER NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    time     TIMESTAMP NOT NULL,
    kind     TEXT NOT NULL,
    detail   TEXT NOT NULL DEFAULT ''
);
CREATE INDEX node_events_node ON node_events (node_id);

-- +goose Down
DROP TABLE node_events;
DROP TABLE ports;
DROP TABLE nodes;
DROP TABLE conductors;
