#!/usr/bin/env bash
# Inside the RDMA guest, whose kernel is in shared mode: inventory, plan and doctor of a node with
# two Soft-RoCE devices; a port that is down; a pod's namespace, which sees devices but not their
# GIDs. Exclusive mode is covered by a captured tree only (inspect_test.sh, doctor_test.sh).
#
# Usage: guest_test.sh PROGRAM
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
program=$1
work=$(mktemp -d)
failures=0

expect() { # status pattern command...
    local status=$1 pattern=$2 got=0
    shift 2
    "$@" >"$work/out" 2>&1 || got=$?
    if [ "$got" != "$status" ] || ! grep -q -e "$pattern" "$work/out"; then
        echo "$*: status $got, expected $status with '$pattern':"
        cat "$work/out"
        failures=$((failures + 1))
    fi
}

expect 0 '"rdma_netns_mode": "shared"' "$program" inspect --capture "$work/node.tar"
cp "$work/out" "$work/node.json"
for part in '"name": "rxe0"' '"uverbs": "uverbs1"' '"active_mtu": 4096' '"type": "RoCE v2"'; do
    expect 0 "$part" cat "$work/node.json"
done
mkdir "$work/replay"
tar -xf "$work/node.tar" -C "$work/replay"
expect 0 '"name": "rxe1"' "$program" inspect --sysfs-root "$work/replay"
cmp "$work/out" "$work/node.json" || failures=$((failures + 1))
expect 0 '^stack  *macvlan' "$program" plan -n "$work/node.json"
expect 0 '"master": "v1"' "$program" generate -n "$work/node.json"

expect 0 '^ok  *roce-gid  *rxe1:1' "$program" doctor --node
expect 0 '^ok  *memlock-limit' "$program" doctor --node
expect 0 '^0 errors' "$program" doctor --node --sysfs-root "$work/replay"

# A pod's namespace: the whole GID table is seen, but none of it is of an interface that is here.
ip netns add pod
expect 3 '^error  *roce-gid  *rxe0:1 has no RoCE v2 GID' ip netns exec pod "$program" doctor --pod
ip netns del pod

ip link set v0 down
expect 3 '^error  *port-state  *rxe0:1 is DOWN' "$program" doctor --node
[ "$failures" = 0 ]
