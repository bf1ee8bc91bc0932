#!/bin/sh
# Installs the distribution's Keystone for `make test-keystone`: its modules and
# commands only, no service. What comes with it is kept from starting.
set -eu
root=""
[ "$(id -u)" = 0 ] || root="sudo"
policy=/usr/sbin/policy-rc.d
if ! dpkg-query -W -f '${Status}' python3-keystone 2>/dev/null | grep -q 'ok installed' && [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' | $root tee "$policy" >/dev/null
	$root chmod 755 "$policy"
	trap '$root rm -f "$policy"' EXIT
fi
"$(dirname "$0")/packages.sh" keystone
