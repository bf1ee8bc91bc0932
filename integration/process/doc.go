// Package process holds tests of the two programs as processes on one host:
// the real conductor, the real agent, a machine whose power the test plays.
package process
