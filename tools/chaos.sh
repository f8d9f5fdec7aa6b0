#!/usr/bin/env bash
# Runs an elastic job under random faults for as long as wanted: members killed, stopped, sent away
# (by SIGTERM too) and started, connections reset, the coordinator restarted, the leader of an etcd
# cluster killed, hosts cut off; where a guest kernel is built, guests as hosts with RDMA as well.
# Every value is checked, and afterwards that no two members saw different outcomes.
#
# Usage: chaos.sh [--minutes N]     5 minutes if not told otherwise
#
# Prints each round's seeds; SHOAL_TEST_SEED=S build-dev/tests/multiproc/elastic_chaos_test repeats
# one. Ends at the first failure, with its output.
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/lib.sh
. tools/lib.sh

minutes=5
while [ $# -gt 0 ]; do
    case $1 in
    --minutes) minutes=${2:?--minutes needs a number} && shift ;;
    *) die "unknown option $1; see the head of $0" ;;
    esac
    shift
done
[[ $minutes =~ ^[0-9]+$ ]] || die "--minutes takes a whole number, not $minutes"

need_packages "${BUILD_PACKAGES[@]}" "${TEST_PACKAGES[@]}" "${NETWORK_PACKAGES[@]}" \
    "${ETCD_PACKAGES[@]}"
cmake --preset dev >/dev/null
targets=(elastic_chaos_test elastic_hosts_test)
if tests/rdma/guest/kernel.sh --find >/dev/null; then
    need_packages "${RDMA_PACKAGES[@]}"
    targets+=(rdma_guests_test)
fi
cmake --build --preset dev --parallel "$(nproc)" --target "${targets[@]}" | tail -n 1

run() { # TEST [ARGUMENT...]
    local log
    log=$(mktemp)
    if ! SHOAL_TEST_CHAOS_S=10 "build-dev/tests/$1" "${@:2}" >"$log" 2>&1; then
        cat "$log"
        rm "$log"
        die "round $round of $* failed"
    fi
    ! grep "SKIPPED" "$log" || say "round $round: $* was skipped in part"
    say "round $round: $* passed" \
        "$(sed -n -e 's/^SHOAL_TEST_SEED=//p' -e '/ connections reset$/p' "$log" | tr '\n' ' ')"
    rm "$log"
}

round=0
end=$((SECONDS + 60 * minutes))
while [ "$SECONDS" -lt "$end" ]; do
    round=$((round + 1))
    run multiproc/elastic_chaos_test
    run multiproc/elastic_chaos_test etcd
    run multiproc/elastic_hosts_test
    case " ${targets[*]} " in
    *" rdma_guests_test "*) run rdma/rdma_guests_test tests/rdma/guest.sh chaos ;;
    esac
done
say "$round rounds passed"
