#!/usr/bin/env bash
# Inside the guest: collectives of 2 to 4 ranks whose queue pairs rdma_cm connects, over IPv4 and
# IPv6; values are checked.
#
# Usage: connect.sh PATH_OF_ALLREDUCE_BENCH INTERFACE...
#
# The interfaces of the devices have addresses of both kinds. SHOAL_IB_HCA chooses the devices.
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
bench=$1
interfaces=("${@:2}")
export SHOAL_TRANSPORT=verbs SHOAL_LOG_LEVEL=info

run() { # what ranks collective
    local output
    output=$("$bench" --ranks "$2" --collective "$3" -b 8 -e 512K -f 256 -n 1 -w 1 2>&1) || {
        printf '%s of %s ranks over %s failed:\n%s\n' "$3" "$2" "$1" "$output"
        exit 1
    }
    # Each line of the table names the transport.
    if [ "$(grep -c ' verbs ' <<<"$output")" -lt 3 ] ||
        ! grep -q 'connects by rdma_cm' <<<"$output"; then
        printf '%s of %s ranks did not go over verbs and rdma_cm:\n%s\n' "$3" "$2" "$output"
        exit 1
    fi
    echo "$3 of $2 ranks over $1: right"
}

run_all() { # what
    run "$1" 2 allreduce
    run "$1" 4 allreduce
    run "$1" 4 allgather
    run "$1" 3 broadcast
}

run_all IPv4
for interface in "${interfaces[@]}"; do
    ip -4 address flush dev "$interface"
done
# All ranks share the devices, which therefore have to find their own addresses at home.
ip -6 rule add priority 0 lookup local
run_all IPv6
