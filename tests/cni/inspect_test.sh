#!/usr/bin/env bash
# shoal-cni inspect: described trees against golden inventories, capturing and replaying, this
# machine, and what is no tree.
#
# Usage: inspect_test.sh PROGRAM [update]
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
program=$1
update=${2:-}
cd "$(dirname "$0")"
# shellcheck source=tests/cni/tree.sh
. ./tree.sh
# shellcheck source=tests/cni/lib.sh
. ./lib.sh

expect_tree() { # name status
    local got=0
    build_tree "trees/$1.txt" "$work/$1"
    "$program" inspect --sysfs-root "$work/$1" --capture "$work/$1.tar" >"$work/$1.json" || got=$?
    [ "$got" = "$2" ] || complain "$1: status $got, expected $2"
    [ -z "$update" ] || cp "$work/$1.json" "golden/$1.json"
    diff "golden/$1.json" "$work/$1.json" || complain "$1: the inventory is another"
    mkdir "$work/$1.replay"
    tar -xf "$work/$1.tar" -C "$work/$1.replay"
    "$program" inspect --sysfs-root "$work/$1.replay" >"$work/$1.again" || true
    cmp "$work/$1.json" "$work/$1.again" || complain "$1: the replayed inventory is another"
}

expect_fault() { # status pattern argument...
    expect "$1" "$2" inspect "${@:3}"
}

expect_tree shared-two-rails 0
expect_tree exclusive-infiniband 5

# This machine, whatever it has: what was captured answers the same.
"$program" inspect --capture "$work/live.tar" >"$work/live.json" || [ $? = 5 ]
mkdir "$work/live"
tar -xf "$work/live.tar" -C "$work/live"
"$program" inspect --sysfs-root "$work/live" >"$work/live.again" || [ $? = 5 ]
diff "$work/live.json" "$work/live.again" || complain "the inventory of this machine is another"

# Places from a topology of hwloc, beside a tree and alone.
"$program" inspect --sysfs-root "$work/shared-two-rails" --hwloc-xml topology.xml >"$work/placed" ||
    complain "with a topology: status $?"
[ "$(grep -c '"SYS"' "$work/placed")" = 2 ] || complain "$(cat "$work/placed")"
mkdir "$work/empty"
"$program" inspect --sysfs-root "$work/empty" --hwloc-xml topology.xml >"$work/alone.json" ||
    complain "a topology alone: status $?"
[ -z "$update" ] || cp "$work/alone.json" golden/topology.json
diff golden/topology.json "$work/alone.json" || complain "the inventory of the topology is another"
expect_fault 2 'no topology' --hwloc-xml "$program"
expect_fault 5 '"rdma": \[\]' --sysfs-root "$work/empty"
expect_fault 2 'No such file' --sysfs-root "$work/missing"
expect_fault 2 'Not a directory' --sysfs-root "$program"
expect_fault 1 'No such file' --sysfs-root "$work/empty" --capture "$work/missing/x.tar"
expect_fault 1 'No space left' -q --sysfs-root "$work/empty" --capture /dev/full
expect_fault 5 '^rdma: \[\]' -o yaml --sysfs-root "$work/empty"
expect_fault 5 '^$' --quiet --color never --sysfs-root "$work/empty"
expect_fault 2 'no output format text' -o text --sysfs-root "$work/empty"
expect_fault 2 'unexpected argument' extra
expect_fault 0 '^usage: shoal-cni inspect' --help
[ "$failures" = 0 ]
