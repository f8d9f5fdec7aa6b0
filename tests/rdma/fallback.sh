#!/usr/bin/env bash
# Inside the guest: without a usable device a job uses tcp and says why, or fails when it may not.
#
# Usage: fallback.sh PATH_OF_ALLREDUCE_BENCH
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
bench=$1

run() { # setting... : prints what the job said; its status
    env "$@" "$bench" --ranks 2 -b 64K -e 64K -n 1 -w 0 2>&1
}

expect() { # text output
    if ! grep -qF "$1" <<<"$2"; then
        printf 'no "%s" in:\n%s\n' "$1" "$2"
        exit 1
    fi
}

output=$(run SHOAL_TRANSPORT=verbs,tcp SHOAL_IB_HCA=nothing)
left_out='SHOAL_IB_HCA="nothing" leaves it out'
expect "verbs reaches nobody: rxe0: $left_out; rxe1: $left_out" "$output"
expect ' tcp ' "$output"

ip link set v0 down
output=$(run SHOAL_TRANSPORT=verbs,tcp SHOAL_IB_HCA==rxe0)
expect 'verbs reaches nobody: rxe0:1: its port is down' "$output"
expect ' tcp ' "$output"

if output=$(run SHOAL_TRANSPORT=verbs SHOAL_IB_HCA==rxe0); then
    printf 'a job that may only use verbs went on without:\n%s\n' "$output"
    exit 1
fi
expect 'no transport reaches rank' "$output"

# In exclusive mode a namespace sees no devices but its own.
rdma system set netns exclusive
ip netns add apart
output=$(ip netns exec apart bash -c 'ip link set lo up; exec "$@"' shell \
    env SHOAL_TRANSPORT=verbs,tcp "$bench" --ranks 2 -b 64K -e 64K -n 1 -w 0 2>&1)
expect "no RDMA device, and the kernel's mode is exclusive" "$output"
expect ' tcp ' "$output"
