-- +goose Up
-- What the latest steps that erase did to the disks of a node. For operators.
CREATE TABLE node_erase_reports (
    id       INTEGER PRIMARY KEY,
    node_id  INTEGER NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    report   TEXT NOT NULL
);
CREATE INDEX node_erase_reports_node ON node_erase_reports (node_id);

-- +goose Down
DROP TABLE node_erase_reports;
