package hwmanager

import (
	"context"

	"github.com/sirupsen/logrus"
)

// Host is the machine as managers see it: the roots of the kernel's file
// systems, so that tests use fixtures, and the one way to run programs.
type Host struct {
	Sys  string // "/sys"
	Proc string // "/proc"
	Dev  string // "/dev"
	Run  Runner
	Log  *logrus.Entry
}

// Runner runs a program with a time limit taken from ctx and returns its
// standard output. The error of a failed run carries the end of standard error.
type Runner interface {
	Run(ctx context.Context, name string, args ...string) (stdout []byte, err error)
}
