-- +goose Up
-- An event's id is never given again, also when its node is gone: who reads the
-- stream goes on behind the id that was read last.
CREATE TABLE events_with_data (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    node_id  INTEGER NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    time     TIMESTAMP NOT NULL,
    kind     TEXT NOT NULL,
    detail   TEXT NOT NULL DEFAULT '',
    data     TEXT NOT NULL DEFAULT '{}'
);
INSERT INTO events_with_data (id, node_id, time, kind, detail) SELECT id, node_id, time, kind, detail FROM node_events;
DROP TABLE node_events;
ALTER TABLE events_with_data RENAME TO node_events;
CREATE INDEX node_events_node ON node_events (node_id);

-- +goose Down
ALTER TABLE node_events DROP COLUMN data;
