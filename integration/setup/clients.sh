#!/bin/sh
# Installs what `make test-clients` and `make test-tempest` run in the folder $1, at these versions:
# the newest clients and suites from PyPI in a virtual environment, and
# gophercloud's acceptance tests, built from its module.
set -eu
dir=$1
clients="python-ironicclient==6.3.0 python-openstackclient==10.5.0 openstacksdk==4.22.0"
suites="oslotest==6.1.1 requests-mock==1.12.1 stestr==4.2.1 tempest==47.0.0 ironic-tempest-plugin==3.2.0"
gophercloud=github.com/gophercloud/gophercloud/v2@v2.15.0

"$(dirname "$0")/packages.sh" clients
wanted="$clients $suites $gophercloud"
if [ "$(cat "$dir/installed" 2>/dev/null)" = "$wanted" ]; then
	exit 0
fi
rm -rf "$dir"
mkdir -p "$dir"
echo "Installing $clients $suites in $dir/python"
/usr/bin/python3 -m venv "$dir/python"
# shellcheck disable=SC2086
"$dir/python/bin/python" -m pip install --quiet $clients $suites

echo "Building the acceptance tests of $gophercloud in $dir/gophercloud"
source=$(cd "$(dirname "$0")" && ${GO:-go} mod download -json "$gophercloud" | sed -n 's/^.*"Dir": "\(.*\)",*$/\1/p')
cp -r "$source" "$dir/gophercloud"
chmod -R u+w "$dir/gophercloud"
for suite in noauth httpbasic v1; do
	(cd "$dir/gophercloud" && ${GO:-go} test -c -tags acceptance -o "../gophercloud-$suite.test" "./internal/acceptance/openstack/baremetal/$suite")
done
echo "$wanted" >"$dir/installed"
