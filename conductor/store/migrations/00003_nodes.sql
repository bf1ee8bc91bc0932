-- +goose Up
ALTER TABLE nodes ADD COLUMN instance_name TEXT;
ALTER TABLE nodes ADD COLUMN allocation_uuid TEXT;
ALTER TABLE nodes ADD COLUMN parent_node TEXT;
ALTER TABLE nodes ADD COLUMN service_step TEXT NOT NULL DEFAULT '{}';
ALTER TABLE nodes ADD COLUMN traits TEXT NOT NULL DEFAULT '[]';
ALTER TABLE nodes ADD COLUMN health TEXT;
ALTER TABLE nodes ADD COLUMN disable_power_off BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE nodes ADD COLUMN firmware_interface TEXT;

-- +goose Down
ALTER TABLE nodes DROP COLUMN instance_name;
ALTER TABLE nodes DROP COLUMN allocation_uuid;
ALTER TABLE nodes DROP COLUMN parent_node;
ALTER TABLE nodes DROP COLUMN service_step;
ALTER TABLE nodes DROP COLUMN traits;
ALTER TABLE nodes DROP COLUMN health;
ALTER TABLE nodes DROP COLUMN disable_power_off;
ALTER TABLE nodes DROP COLUMN firmware_interface;
