#!/usr/bin/env bash
# Inside the guest: makes fresh RDMA devices, then becomes the command. Devices of an earlier call
# are removed first, so that no test inherits the faults of another.
#
# Usage: devices.sh [rxe=N] [siw=N] [host=ADDRESS] [mtu=BYTES] [ipv6=1] command [argument]...
#
#   rxe=N   Soft-RoCE: rxe0.. on v0.. (10.77.0.1..), cables p0.. in the bridge br0
#   siw=N   soft iWARP: siw0.. on w0.. (10.78.0.1..), whose traffic takes the loopback
#   host=A  Soft-RoCE with other guests: rxe0 on vec0 (guest.sh -n), which gets the address A/LENGTH
#   mtu=N   of v0.. (9000, which lets RDMA use 4096; 1500 gives 1024)
#   ipv6=1  fd77::1.. on v0.., fd78::1.. on w0.. as well
#
# All are in one network namespace, since Soft-RoCE works in no other.
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail

rxe=0 siw=0 host="" mtu=9000 ipv6=0
while [ $# -gt 0 ]; do
    case $1 in
    rxe=*) rxe=${1#*=} ;;
    siw=*) siw=${1#*=} ;;
    host=*) host=${1#*=} ;;
    mtu=*) mtu=${1#*=} ;;
    ipv6=*) ipv6=${1#*=} ;;
    *) break ;;
    esac
    shift
done
if [ "${SHOAL_TEST_GUEST-}" != 1 ]; then
    echo "devices.sh changes the network, so it runs in the guest only" >&2
    exit 125
fi

remove_devices() {
    local path
    for path in /sys/class/infiniband/*; do
        [ ! -e "$path" ] || rdma link delete "${path##*/}"
    done
    for path in /sys/class/net/{v,w,br}[0-9]*; do
        [ ! -e "$path" ] || ip link delete "${path##*/}"
    done
}

# Packets between two addresses of one namespace must leave by one interface and arrive by another:
# senders' addresses that are our own are accepted, and only the owner of an address answers ARP.
prepare_network() {
    sysctl --quiet --write net.ipv4.conf.{all,default}.rp_filter=0 \
        net.ipv4.conf.all.accept_local=1 net.ipv4.conf.all.arp_ignore=1 \
        net.ipv4.conf.all.arp_announce=2 net.ipv6.conf.{all,default}.disable_ipv6=$((1 - ipv6))
}

# IPv6 rules of an earlier call would lead the connections of a device to itself out into the
# bridge.
reset_ipv6_rules() {
    ip -6 rule flush # leaves those of priority 0, and a second one like the kernel's may be added
    while ip -6 rule delete priority 0 2>/dev/null; do :; done
    ip -6 rule add priority 0 lookup local
    ip -6 rule add priority 32766 lookup main
}

# The same for IPv6, whose routes of our own addresses would otherwise come first and lead to the
# loopback.
prepare_ipv6() {
    local i
    for ((i = 0; i < rxe; i++)); do ip -6 rule add priority 1 oif v$i lookup main; done
    ip -6 rule add priority 2 lookup local
    ip -6 rule delete priority 0
}

hardware_address() { # number
    printf '02:00:0a:4d:00:%02x' $(($1 + 1))
}

rxe_network() {
    local i
    echo "link add br0 mtu $mtu type bridge"
    echo "link set br0 up"
    for ((i = 0; i < rxe; i++)); do
        echo "link add v$i address $(hardware_address $i) mtu $mtu type veth peer name p$i mtu $mtu"
        echo "link set p$i master br0 up"
        echo "address add 10.77.0.$((i + 1))/24 dev v$i"
        [ "$ipv6" = 0 ] || echo "address add fd77::$((i + 1))/64 dev v$i nodad"
        echo "link set v$i up"
    done
}

# Neighbours are known from the start: the first connection by rdma_cm would lose its request to
# address resolution and try again only after two seconds.
rxe_neighbours() {
    local i j known
    for ((i = 0; i < rxe; i++)); do
        for ((j = 0; j < rxe; j++)); do
            [ $i != $j ] || continue
            known="lladdr $(hardware_address $j) dev v$i nud permanent"
            echo "neigh replace 10.77.0.$((j + 1)) $known"
            [ "$ipv6" = 0 ] || echo "neigh replace fd77::$((j + 1)) $known"
        done
    done
}

siw_network() {
    local i
    for ((i = 0; i < siw; i++)); do
        echo "link add w$i type dummy"
        echo "address add 10.78.0.$((i + 1))/24 dev w$i"
        [ "$ipv6" = 0 ] || echo "address add fd78::$((i + 1))/64 dev w$i nodad"
        echo "link set w$i up"
    done
}

host_network() {
    echo "address add $host dev vec0"
    echo "link set vec0 up"
}

rdma_devices() {
    local i
    [ -z "$host" ] || echo "link add rxe0 type rxe netdev vec0"
    for ((i = 0; i < rxe; i++)); do echo "link add rxe$i type rxe netdev v$i"; done
    for ((i = 0; i < siw; i++)); do echo "link add siw$i type siw netdev w$i"; done
}

remove_devices
prepare_network
reset_ipv6_rules
[ "$ipv6" = 0 ] || prepare_ipv6
{
    [ "$rxe" = 0 ] || rxe_network
    rxe_neighbours
    siw_network
    [ -z "$host" ] || host_network
} | ip -batch -
rdma_devices >/run/rdma-devices
rdma -b /run/rdma-devices
exec "$@"
