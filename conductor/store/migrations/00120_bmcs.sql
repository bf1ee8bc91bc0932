-- +goose Up
-- What is remembered of BMCs, by address and port: several nodes may be behind one.
CREATE TABLE bmcs (
    endpoint     TEXT PRIMARY KEY,
    cipher_suite INTEGER NOT NULL
);

-- +goose Down
DROP TABLE bmcs;
