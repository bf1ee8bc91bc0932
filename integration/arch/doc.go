// Package arch holds the house rules as a test: who may import whom, what the agent binary must not contain, and
// how packages and files are shaped. The table is that of ARCHITECTURE.md.
package arch
