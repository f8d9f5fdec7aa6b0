#!/usr/bin/env bash
# Inside the guest: the benches of RDMA run and check what they move. How fast proves nothing here.
#
# Usage: bench.sh BUILD_FOLDER
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
build=$1
source=$(cd "$(dirname "$0")/../.." && pwd)

complain() { # what output
    printf '%s:\n%s\n' "$1" "$2"
    exit 1
}

for loop in "stream 65536 1048576 16" "ping 8 8 2" "reduce 65536 65536 2"; do
    read -r -a words <<<"$loop"
    output=$("$build/bench/rdma_bound" rxe0 rxe1 "${words[@]}" 2>&1) || complain "$loop" "$output"
    grep -qE "^${words[1]},[0-9.]+$" <<<"$output" || complain "$loop" "$output"
done
if "$build/bench/rdma_bound" rxe0 none ping 8 8 2 2>/dev/null; then
    complain "a device that is not there" "was used"
fi
output=$("$source/bench/compare_rdma" --build "$build" --parts bandwidth --rounds 1 \
    --max 1048576 2>&1) || complain "compare_rdma" "$output"
# size, loop, additions, and twice allreduce, ratio, allgather, ratio
grep -qE '^ +1048576( +[0-9.]+){10}$' <<<"$output" || complain "compare_rdma" "$output"

export SHOAL_SIZE=2 SHOAL_TRANSPORT=verbs SHOAL_SECRET=0123456789abcdef0123456789abcdef
export SHOAL_RENDEZVOUS=127.0.0.1:2900
SHOAL_RANK=1 SHOAL_IB_HCA='=rxe1' "$build/bench/ping_bench" 8 10 &
output=$(SHOAL_RANK=0 SHOAL_IB_HCA='=rxe0' "$build/bench/ping_bench" 8 10 2>&1) ||
    complain "ping_bench" "$output"
wait $! || complain "ping_bench of rank 1" "failed"
grep -qE '^8,[0-9.]+$' <<<"$output" || complain "ping_bench" "$output"
echo "benches of RDMA: right"
