#!/usr/bin/env bash
# Inside the RDMA guest, whose kernel is in shared mode: inventory, plan and doctor of a node with
# two Soft-RoCE devices; a port that is down; a pod's namespace, which sees devices but not their
# GIDs. The doctor's probe registers, connects and writes on each device, or says what keeps it
# from that. First of all exclusive mode, which the kernel takes as long as no namespace was made:
# only moving a device into a pod, which Soft-RoCE cannot, is left to captured trees
# (inspect_test.sh, doctor_test.sh).
#
# Usage: guest_test.sh PROGRAM [SHOAL]
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
program=$1
shoal=${2:-}
cd "$(dirname "$0")"
# shellcheck source=tests/cni/lib.sh
. ./lib.sh

expect() { # status pattern command...: of other programs, too
    expect_command "$@"
}

also() { # pattern: in the output of the last command, too
    if ! grep -q -e "$1" "$work/out"; then
        complain "no '$1' in: $(cat "$work/out")"
    fi
}

# The kernel is asked by netlink what /sys says, and both agree.
mode_is() { # mode
    expect 0 "^netns $1" rdma system show
    expect 0 "\"rdma_netns_mode\": \"$1\"" "$program" inspect
    expect 0 "^ok  *netns-mode  *$1" "$program" doctor --node
}

# Exclusive mode: the node has its devices, and says what a restart will bring; a pod has none.
rdma system set netns exclusive
mode_is exclusive
also '^warning  *netns-boot  *exclusive now, shared after a restart'
also '^ok  *device-lost'
expect 0 '^ok  *probe-write  *rxe0:1' "$program" doctor --node --probe
"$program" inspect >"$work/exclusive.json"
expect 3 'macvlan: it leaves the device in the host, which takes shared mode' \
    "$program" plan -n "$work/exclusive.json"
also 'host-device: v0 of .*exclusive.json is no PCI device'
expect 3 'node .*exclusive.json is in exclusive mode .*\[node-mode\]' \
    "$program" validate -q -n "$work/exclusive.json" \
    golden/plans/macvlan.yaml
ip netns add pod
expect 5 '^error  *netns-mode  *exclusive, and no device is in this network namespace' \
    ip netns exec pod "$program" doctor --pod
also '^error  *rdma-devices  *none'
ip netns del pod
rdma system set netns shared
mode_is shared

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

# The probe, on each device and with each GID that could be used.
sysctl --quiet --write net.ipv6.conf.v0.disable_ipv6=0
ip address add fd77::1/64 dev v0 nodad
expect 0 '^0 errors' "$program" doctor --node --probe
for step in open small large pair connect write release; do
    for gid in 'rxe0:1 GID 1 10.77.0.1' 'rxe0:1 GID 2 fd77:0:0:0:0:0:0:1' \
        'rxe1:1 GID 1 10.77.0.2'; do
        also "^ok  *probe-$step  *$gid: "
    done
done
also 'probe-ports  *rxe0:1 GID 2 .* of v0, not the one that Shoal takes'
ip address delete fd77::1/64 dev v0
[ -z "$shoal" ] || expect 0 '"check": "probe-write"' "$shoal" doctor --node --probe --json

# Little locked memory, none at all, and a device that is listed but given to somebody else.
limited() { # KiB argument...
    setpriv --bounding-set=-ipc_lock bash -c 'ulimit -l "$1" && exec "${@:2}"' limited "$@"
}
expect 3 '^error  *probe-large  *rxe0:1 .* 64 MiB cannot be registered: Cannot allocate' \
    limited 1024 "$program" doctor --node --probe
also '^ok  *probe-write  *rxe0:1'
expect 3 '^error  *probe-small  *rxe0:1 .* 8 KiB cannot be registered' \
    limited 0 "$program" doctor --node --probe
chmod 0 /dev/infiniband/uverbs0
expect 0 '^note  *probe-ports  *rxe0 is not tried: it cannot be opened' \
    setpriv --bounding-set=-dac_override "$program" doctor --node --probe
also '^ok  *probe-write  *rxe1:1'
chmod 666 /dev/infiniband/uverbs0

# Another host with one of our addresses, and rules that somebody left behind.
ip link add twin type veth peer name twin-port
ip netns add twin
ip link set twin netns twin
ip link set twin-port master br0 up
ip -n twin address add 10.77.0.1/24 dev twin
ip -n twin link set twin up
ip rule add iif gone lookup 100 priority 77
expect 3 "^error  *address-unique 10.77.0.1/24 of v0 is answered for by $(ip -n twin -j link \
    show dev twin | jq -r '.[0].address'), too" "$program" doctor --node --probe
also '^ok  *address-unique nobody else answers for 10.77.0.2/24 of v1'
also '^warning  *policy-routing "inet 77 from all iif gone lookup 100": no interface gone'
expect 0 '^note  *address-unique whether others .* is not asked: .*NET_RAW' \
    setpriv --bounding-set=-net_raw "$program" doctor --node --probe
ip rule delete priority 77
ip netns del twin
expect 0 '^ok  *address-unique nobody else answers for 10.77.0.1/24' \
    "$program" doctor --node --probe

# A pod's namespace: the whole GID table is seen, but none of it is of an interface that is here.
ip netns add pod
expect 3 '^error  *roce-gid  *rxe0:1 has no RoCE v2 GID' ip netns exec pod "$program" doctor --pod
expect 3 '^error  *probe-ports  *rxe0:1 is not tried: .*no interface in this network namespace' \
    ip netns exec pod "$program" doctor --pod --probe
ip netns del pod

# An iWARP device has no GIDs of RoCE, which is no error.
ip link add w0 type dummy
ip address add 10.78.0.1/24 dev w0
ip link set w0 up
rdma link add siw0 type siw netdev w0
expect 0 '^note  *iwarp  *siw0 is iWARP, of w0' "$program" doctor --node --probe
if grep -q 'this build has no rdma_cm' "$work/out"; then
    also '^note  *probe-ports  *siw0 10.78.0.1 of w0 is not tried'
else
    also '^ok  *probe-ports  *siw0 10.78.0.1 of w0, by rdma_cm'
    for step in open small large pair connect write release; do
        also "^ok  *probe-$step  *siw0 10.78.0.1: "
    done
    expect 3 '^error  *probe-large  *siw0 10.78.0.1: 64 MiB cannot be registered: Cannot allocate' \
        limited 1024 "$program" doctor --node --probe
    also '^ok  *probe-write  *siw0'
    also '^ok  *probe-release  *siw0'
fi
rdma link delete siw0
ip link delete w0

ip link set v0 down
expect 3 '^error  *port-state  *rxe0:1 is DOWN' "$program" doctor --node
expect 3 '^note  *probe-ports  *rxe0:1 is not tried: its port is down' \
    "$program" doctor --node --probe
[ "$failures" = 0 ]
