#!/usr/bin/env bash
# Runs the tests of a build that need RDMA: each in a guest of its own, as many guests at a time as
# this machine has CPUs, since a guest has one, and memory for.
#
# Usage: run_tests.sh BUILD_FOLDER RESULTS_FOLDER [ctest argument]...
#
# The results folder gets rdma.xml (JUnit). Arguments such as `--tests-regex siw` choose among the
# tests, `--parallel 1` runs one guest at a time; tests marked NIGHTLY run with TEST_NIGHTLY=1.
# Skips (77) when no guest kernel is built yet, as building one takes minutes: guest/kernel.sh does
# it.
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
GUEST_MIB=1280 # a guest's memory (guest.sh -m), and what runs it
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$1" && pwd)
mkdir -p "$2"
results=$(cd "$2" && pwd)
shift 2

# In MiB: what this machine has left, and what each control group of this process may use at all.
memory_limits() {
    local group
    awk '/^MemAvailable:/ { printf "%.0f\n", $2 / 1024 }' /proc/meminfo
    group=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
    while [ "$group" != /sys/fs ]; do
        if [ -r "$group/memory.max" ]; then awk '$1 != "max"' "$group/memory.max"; fi
        group=${group%/*}
    done | awk '{ printf "%.0f\n", $1 / 1048576 }'
    group=/sys/fs/cgroup/memory$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup) # version 1
    if [ -r "$group/memory.stat" ]; then
        awk '$1 == "hierarchical_memory_limit" { printf "%.0f\n", $2 / 1048576 }' \
            "$group/memory.stat"
    fi
}

guests_at_once() {
    local cpus left most
    cpus=$(nproc)
    left=$(memory_limits | sort -n | head -n 1)
    most=$((left / GUEST_MIB))
    if [ "$most" -ge "$cpus" ]; then most=$cpus; fi
    if [ "$most" -lt 1 ]; then most=1; fi
    echo "$most"
}

if ! "$here/guest/kernel.sh" --find >/dev/null; then
    echo "no guest kernel is built; tests/rdma/guest/kernel.sh builds it in some minutes"
    exit 77
fi
if [ "${TEST_NIGHTLY:-0}" = 0 ]; then
    set -- --label-exclude nightly "$@"
fi
exec ctest --test-dir "$build/tests/rdma/guest" --output-junit "$results/rdma.xml" \
    --output-on-failure --test-output-size-passed 65536 --no-tests=error \
    --parallel "$(guests_at_once)" "$@"
