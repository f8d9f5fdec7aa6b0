#!/usr/bin/env bash
# Inside the guest: two hosts, as network namespaces joined by a cable, each with a soft iWARP
# device of its own. RDMA is shared by namespaces, so each host sees both devices, and has to find
# which one is at home. Collectives between them go over verbs; values are checked.
#
# Usage: spaces.sh SHOAL ALLREDUCE_BENCH
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
. "$(dirname "$0")/../support/two_hosts.sh"
shoal=$1 bench=$2
folder=$(mktemp -d)
export SHOAL_LOG_LEVEL=info

clean_up() {
    for host in 0 1; do
        rdma link delete "space$host" 2>/dev/null || true
    done
    two_hosts_remove space
    rm -rf "$folder"
}
trap clean_up EXIT

complain() {
    printf '%s\n' "$1"
    cat "$folder"/out* 2>/dev/null || true
    exit 1
}

two_hosts space 10.79.0
for host in 0 1; do
    ip netns exec "space$host" rdma link add "space$host" type siw netdev eth0
done
new_secret "$folder/secret"

ip netns exec space0 "$shoal" info >"$folder/out" 2>&1 || complain "shoal info failed"
for device in space0 space1; do
    grep -q "$device" "$folder/out" || complain "shoal info does not name $device"
done

on_host() { # host transports command...
    local host=$1 transports=$2
    shift 2
    SHOAL_TRANSPORT=$transports timeout 50 ip netns exec "space$host" "$shoal" run -n 1 \
        --nnodes 2 --node-rank "$host" --rendezvous 10.79.0.1:2900 \
        --secret-file "$folder/secret" -- "$@"
}

run() { # transports collective
    local failed=0
    for host in 1 0; do
        on_host $host "$1" "$bench" --collective "$2" -b 8 -e 512K -f 256 -n 1 -w 1 \
            >"$folder/out$host" 2>&1 &
    done
    for job in $(jobs -p); do wait "$job" || failed=1; done
    [ $failed = 0 ] || complain "$2 failed"
    [ "$(cat "$folder"/out[01] | grep -c ' verbs ')" -ge 3 ] || complain "$2 did not go over verbs"
    for host in 0 1; do
        grep -q "space$host connects by rdma_cm" "$folder/out$host" ||
            complain "host $host did not use its own device"
    done
    echo "$2 between namespaces: right"
}

run verbs allreduce
run verbs,tcp allgather
