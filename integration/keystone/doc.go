// Package keystone has tests with a real Keystone, the distribution's, and real
// clients that get their tokens from it: `make test-keystone`, and tempest's
// tests of the API: `make test-tempest`.
package keystone
