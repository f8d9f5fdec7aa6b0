#!/usr/bin/env bash
# Usage: sharded_adam_elastic_test.sh SHOAL EXAMPLE
# Of four workers two are killed, one after the other, and two join. The moments come through, and
# those that were there from the beginning find their run like an undisturbed one.
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
# shellcheck source=examples/lib.sh
. "$(dirname "$0")/lib.sh"

coordinate "$1"
train=("$2" "$store" 1500 4)
for worker in 1 2 3 4; do
    start $worker "${train[@]}"
done
await "$temp/1" "step 50 of 4"
kill -KILL "${pids[3]}"
await "$temp/1" "of 3 workers"
start 5 "${train[@]}"
await "$temp/1" "of 4 workers" # of the beginning
await "$temp/5" "of 4 workers"
kill -KILL "${pids[2]}"
await "$temp/5" "of 3 workers"
start 6 "${train[@]}"
await "$temp/6" "of 4 workers"
await_workers 1 4 5 6
result=$(sed -n 's/^done: \([^ ]*\) .*/\1/p' "$temp/1")
for worker in 4 5 6; do
    grep -q "^done: $result " "$temp/$worker" || {
        echo "worker $worker has not come to $result" >&2
        exit 1
    }
done
grep "^done:" "$temp/1"
