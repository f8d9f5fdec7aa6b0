#!/usr/bin/env bash
# Usage: elastic_test.sh SHOAL EXAMPLE
# Of three workers one is killed, and another joins; those that are left come to one result.
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
# shellcheck source=examples/lib.sh
. "$(dirname "$0")/lib.sh"

coordinate "$1"
for worker in 1 2 3 4; do
    if ((worker == 4)); then
        await "$temp/1" "step 50 of 3"
    fi
    start $worker "$2" "$store" 600 3
done
await "$temp/1" "of 4 workers"
kill -KILL "${pids[2]}"
await_workers 1 3 4
await "$temp/1" "of 3 workers"
result=$(grep "done:" "$temp/1")
for worker in 3 4; do
    grep -q "$result" "$temp/$worker" || {
        echo "worker $worker has not come to '$result'" >&2
        exit 1
    }
done
echo "three of four workers came to $result"
