#!/usr/bin/env bash
# shoal-cni as a user calls it: exit statuses, formats, folders, standard input, help.
#
# Usage: program_test.sh PROGRAM
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
program=$1
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

expect() { # status pattern argument...
    local status=$1 pattern=$2 got=0
    shift 2
    "$program" "$@" >"$work/out" 2>&1 </dev/null || got=$?
    if [ "$got" != "$status" ] || ! grep -q -e "$pattern" "$work/out"; then
        echo "shoal-cni $*: status $got, expected $status with '$pattern':"
        cat "$work/out"
        failures=$((failures + 1))
    fi
}

clean=cases/tutorial-ipoib-corrected.yaml
warned=manifests/nad-ib-sriov.yaml
wrong=cases/tutorial-ipoib.yaml

expect 0 '^0 errors, 0 warnings' validate "$clean"
expect 0 '1 warning' validate "$warned"
expect 4 '1 warning' validate --strict "$warned"
expect 3 'ipoib-master' validate -q -f "$wrong"
expect 3 'ipoib-master' validate --strict "$wrong"
expect 2 'alias' validate "$clean" cases/syntax-alias.yaml
expect 3 '"version": "2.1.0"' validate -o sarif "$wrong"
expect 3 '"rule": "ipoib-master"' validate --output json "$wrong"
expect 3 $'\033' validate --color always "$wrong"
expect 3 'netop-ib-sriov-ib-network.yaml:24: error' validate manifests
expect 2 'No such file' validate missing.yaml
expect 2 'nothing to validate' validate
expect 2 'no manifests' validate "$work"
expect 2 'no output format xml' validate -o xml "$clean"
expect 2 'takes auto' validate --color sometimes "$clean"
expect 2 'unrecognized' validate --wrong "$clean"
expect 0 '^usage: shoal-cni validate' validate --help
expect 0 '^usage: shoal-cni explain' explain --help
expect 0 '^ipoib-master (error)' explain ipoib-master
expect 0 '^memlock ' explain
expect 2 'did you mean memlock' explain memlok
expect 2 'did you mean validate' validat
expect 2 '^usage' # no command
expect 0 '^usage' --help
expect 0 '^shoal-cni [0-9]' --version

expect 3 'has no interface ib0' validate -n golden/shared-two-rails.json $clean
expect 2 'no inventory' validate --node manifests/mpijob-pi.yaml $clean
expect 2 'No such file' validate --node missing.json $clean
expect 2 'alias' validate --node cases/syntax-alias.yaml $clean

# What we ship is clean, together and file by file.
examples=../../examples/k8s
expect 0 '^0 errors, 0 warnings, 1 note in 6 documents' validate --strict "$examples"
for file in "$examples"/*.yaml; do
    expect 0 '^0 errors, 0 warnings' validate --strict "$file"
done

# The attachment of tutorials, as it is copied: no file, no object around it.
seed='{"cniVersion":"0.3.1","type":"ipoib","master":"eth0","mode":"datagram"}'
for rule in ipoib-master ipoib-inherited no-ipam cni-name carries-no-rdma; do
    printf '%s' "$seed" | "$program" validate - >"$work/out" && failures=$((failures + 1))
    grep -q "\[$rule\]" "$work/out" || { echo "$rule was not found" && failures=$((failures + 1)); }
done

# What never ends is refused after 16 MiB.
expect 2 'files may have 16 MiB' validate /dev/zero
[ "$failures" = 0 ]
