-- +goose Up
-- revision counts the changes of what a node's representation shows, in this
-- table and in others (traits, allocation, ...): rendered nodes are kept by it.
ALTER TABLE nodes ADD COLUMN revision INTEGER NOT NULL DEFAULT 1;

-- +goose Down
ALTER TABLE nodes DROP COLUMN revision;
