#!/bin/sh
# Installs the newest ironic-python-agent from PyPI in the virtual environment $1.
set -eu
venv=$1
"$(dirname "$0")/packages.sh" ipa
[ -x "$venv/bin/python" ] || /usr/bin/python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --upgrade ironic-python-agent
"$venv/bin/python" -m pip show ironic-python-agent | sed -n 's/^Version: /ironic-python-agent /p'
