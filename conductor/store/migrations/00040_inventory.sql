-- +goose Up
-- What the latest inspection of a node found. The document of the agent, and
-- what hooks made of it.
CREATE TABLE node_inventory (
    id              INTEGER PRIMARY KEY,
    node_id         INTEGER NOT NULL UNIQUE REFERENCES nodes (id) ON DELETE CASCADE,
    inventory_data  TEXT NOT NULL,
    plugin_data     TEXT NOT NULL,
    created_at      TIMESTAMP NOT NULL
);

-- +goose Down
DROP TABLE node_inventory;
