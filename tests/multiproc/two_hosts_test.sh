#!/usr/bin/env bash
# Usage: two_hosts_test.sh SHOAL BENCH
# Two hosts of two ranks each, as network namespaces joined by a cable: shared memory inside, TCP
# between. Needs root and iproute2.
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
. "$(dirname "$0")/../support/two_hosts.sh"
shoal=$1 bench=$2
tag=shl2h$$
folder=$(mktemp -d)
[ "$(id -u)" = 0 ] && command -v ip >/dev/null || {
    echo "network namespaces need root and iproute2"
    exit 77
}

clean_up() {
    two_hosts_remove "$tag"
    rm -rf "$folder"
}
trap clean_up EXIT

two_hosts "$tag" 10.77.0
new_secret "$folder/secret"

on_host() { # host, command...
    local host=$1
    shift
    timeout 100 ip netns exec "$tag$host" "$shoal" run -n 2 --nnodes 2 --node-rank "$host" \
        --rendezvous 10.77.0.1:2900 --secret-file "$folder/secret" -- "$@"
}

run() { # command...
    local failed=0
    on_host 1 "$@" >"$folder/out1" 2>&1 &
    on_host 0 "$@" >"$folder/out0" 2>&1 || failed=1
    wait $! || failed=1
    [ $failed = 0 ] || {
        cat "$folder/out0" "$folder/out1" >&2
        exit 1
    }
}

for collective in allreduce broadcast reduce reduce_scatter allgather barrier; do
    run "$bench" --collective "$collective" -b 8 -e 1M -f 64 -n 3
    grep -q "Out of bounds values : 0 OK" "$folder/out0"
done
echo "two hosts of two ranks agree"
