-- +goose Up
-- Addresses that the conductor's own DHCP service gave away, of both families. client
-- is the MAC address with IPv4, identifiers of client and association with IPv6.
CREATE TABLE dhcp_leases (
    address TEXT PRIMARY KEY,
    client  TEXT NOT NULL,
    mac     TEXT NOT NULL,
    expires TIMESTAMP NOT NULL
);

-- +goose Down
DROP TABLE dhcp_leases;
