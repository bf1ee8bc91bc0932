-- +goose Up
-- stamps counts, among the changes that revision counts, those that are nothing
-- but the time of a heartbeat: what does not show it is the same after them.
ALTER TABLE nodes ADD COLUMN stamps INTEGER NOT NULL DEFAULT 0;
DROP INDEX nodes_children;
CREATE INDEX nodes_children ON nodes (parent_node, id, revision, stamps);

-- +goose Down
DROP INDEX nodes_children;
CREATE INDEX nodes_children ON nodes (parent_node, id, revision);
ALTER TABLE nodes DROP COLUMN stamps;
