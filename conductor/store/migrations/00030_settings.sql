-- +goose Up
-- What is known of the BIOS settings and the firmware of a node.
CREATE TABLE bios_settings (
    node_id          INTEGER NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    name             TEXT NOT NULL,
    value            TEXT,
    attribute_type   TEXT,
    allowable_values TEXT,
    lower_bound      INTEGER,
    upper_bound      INTEGER,
    min_length       INTEGER,
    max_length       INTEGER,
    read_only        BOOLEAN,
    reset_required   BOOLEAN,
    is_unique        BOOLEAN,
    created_at       TIMESTAMP NOT NULL,
    updated_at       TIMESTAMP,
    PRIMARY KEY (node_id, name)
) WITHOUT ROWID;

CREATE TABLE firmware_components (
    node_id              INTEGER NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    component            TEXT NOT NULL,
    initial_version      TEXT NOT NULL,
    current_version      TEXT,
    last_version_flashed TEXT,
    vendor               TEXT,
    model                TEXT,
    serial_number        TEXT,
    created_at           TIMESTAMP NOT NULL,
    updated_at           TIMESTAMP,
    PRIMARY KEY (node_id, component)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE bios_settings;
DROP TABLE firmware_components;
