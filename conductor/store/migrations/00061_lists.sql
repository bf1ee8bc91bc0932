-- +goose Up
-- Whatever changes a node's row raises its revision, also where the change is
-- that of a foreign key.
-- +goose StatementBegin
CREATE TRIGGER nodes_revision AFTER UPDATE ON nodes WHEN NEW.revision = OLD.revision
BEGIN
    UPDATE nodes SET revision = revision + 1 WHERE id = NEW.id;
END;
-- +goose StatementEnd

-- What the API selects nodes by. The first one is all that the usual list
-- needs: the rows themselves may be long.
CREATE INDEX nodes_children ON nodes (parent_node, id, revision);
CREATE INDEX nodes_owner ON nodes (owner);
CREATE INDEX nodes_lessee ON nodes (lessee);
CREATE INDEX nodes_shard ON nodes (shard);
CREATE INDEX nodes_resource_class ON nodes (resource_class);
CREATE INDEX nodes_conductor_group ON nodes (conductor_group);

-- +goose Down
DROP INDEX nodes_conductor_group;
DROP INDEX nodes_resource_class;
DROP INDEX nodes_shard;
DROP INDEX nodes_lessee;
DROP INDEX nodes_owner;
DROP INDEX nodes_children;
DROP TRIGGER nodes_revision;
