// Package crash has no code. Its tests kill a conductor around each of its
// writes in the life of a node, start it again, and compare what becomes of the
// node with the table of restarts.
package crash
