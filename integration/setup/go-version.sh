#!/bin/sh
# Checks that the given Go program is there and new enough for go.mod.
set -eu
go=${1:-go}
need=$(sed -n 's/^go //p' "$(dirname "$0")/../../go.mod")
if ! command -v "$go" >/dev/null 2>&1; then
	echo "Go $need or newer is needed and no Go was found. Install it and put it into PATH." >&2
	exit 1
fi
have=$("$go" env GOVERSION | sed 's/^go//; s/[^0-9.].*//')
lowest=$(printf '%s\n%s\n' "$need" "$have" | sort -V | head -n 1)
if [ "$lowest" != "$need" ] && [ "$have" != "${need%.0}" ]; then
	echo "Go $need or newer is needed; $("$go" env GOVERSION) was found at $(command -v "$go")." >&2
	exit 1
fi
