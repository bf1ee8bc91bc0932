#!/bin/sh
# Installs the Ironics that the tests of `make test-ironic` drive machines with:
# that of the distribution (its modules only, no services), and one from PyPI in
# the virtual environment $1. $2 is its version; without it the newest is taken,
# again at each run.
set -eu
venv=$1
version=${2:-}
"$(dirname "$0")/packages.sh" ironic
if [ -n "$version" ] && [ -x "$venv/bin/ironic" ]; then
	exit 0
fi
[ -x "$venv/bin/python" ] || /usr/bin/python3 -m venv "$venv"
echo "Installing Ironic ${version:-(the newest)} from PyPI in $venv"
"$venv/bin/python" -m pip install --quiet --upgrade "ironic${version:+==$version}"
