#!/usr/bin/env bash
# Usage: two_hosts_test.sh SHOAL BENCH
# Two hosts of two ranks each, as network namespaces joined by a cable: shared memory inside, TCP
# between. Needs root and iproute2.
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
shoal=$1 bench=$2
tag=shl2h$$
folder=$(mktemp -d)
[ "$(id -u)" = 0 ] && command -v ip >/dev/null || {
    echo "network namespaces need root and iproute2"
    exit 77
}

clean_up() {
    for host in 0 1; do
        ip netns del "$tag$host" 2>/dev/null || true
    done
    rm -rf "$folder"
}
trap clean_up EXIT

ip netns add "${tag}0"
ip netns add "${tag}1"
ip link add eth0 netns "${tag}0" type veth peer name eth0 netns "${tag}1"
for host in 0 1; do
    ip -n "$tag$host" addr add "10.77.0.$((host + 1))/24" dev eth0
    ip -n "$tag$host" link set eth0 up
    ip -n "$tag$host" link set lo up
done
for host in 0 1; do # an interface without a carrier is no address to publish
    for _ in $(seq 100); do
        ip -n "$tag$host" link show eth0 | grep -q "state UP" && break
        sleep 0.05
    done
done
head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$folder/secret"
chmod 600 "$folder/secret"

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
