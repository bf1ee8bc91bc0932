-- +goose Up
-- What an agent has sent of its machine and what has not been processed yet.
CREATE TABLE inspection_data (
    node_id   INTEGER PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE,
    document  TEXT NOT NULL
);

-- +goose Down
DROP TABLE inspection_data;
