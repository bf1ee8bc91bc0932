-- +goose Up
-- The nodes whose BMCs failed are looked for again and again, and are few.
CREATE INDEX nodes_fault ON nodes (fault) WHERE fault IS NOT NULL;

-- +goose Down
DROP INDEX nodes_fault;
