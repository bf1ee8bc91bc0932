// Package guide holds the tests of what vendors of hardware are told to do: the
// commands of hwmanager/README.md, and the examples.
package guide
