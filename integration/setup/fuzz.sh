#!/bin/sh
# Runs every fuzz target of the repository for the given time (as `go test -fuzztime` has it), one
# after the other; stops at the first finding. What is found is kept by go test as a seed beside the target.
set -eu
time=$1

grep -r --include='*_test.go' -E -o '^func Fuzz[A-Za-z0-9]+' . | sort | while IFS=: read -r file func; do
	target=${func#func }
	echo "== ${file%/*} $target"
	# Else go takes up to a minute to make an input smaller, again and again where it is not sure of its coverage.
	go test "${file%/*}" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 100x -parallel "${FUZZ_PARALLEL:-2}"
done
