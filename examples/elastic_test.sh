#!/usr/bin/env bash
# Usage: elastic_test.sh SHOAL EXAMPLE
# Of three workers one is killed, and another joins; those that are left come to one result.
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
temp=$(mktemp -d)
pids=()
trap 'kill -KILL "${pids[@]}" 2>/dev/null || true; rm -rf "$temp"' EXIT

# await FILE TEXT: until a line of a file has it.
await() {
    for ((i = 0; i < 3000; i++)); do
        if grep -q "$2" "$1"; then return; fi
        sleep 0.01
    done
    echo "no '$2' in:" >&2
    cat "$temp"/* >&2
    exit 1
}

"$1" coordinator --listen 127.0.0.1:0 --journal "$temp/journal" 2>"$temp/store" </dev/null &
pids+=($!)
await "$temp/store" incarnation
store=$(sed -n 's/.* at \([^ ,]*\), .*/\1/p' "$temp/store")
for worker in 1 2 3 4; do
    if ((worker == 4)); then
        await "$temp/1" "step 50 of 3"
    fi
    "$2" "$store" 600 3 >"$temp/$worker" 2>&1 &
    pids+=($!)
done
await "$temp/1" "of 4 workers"
kill -KILL "${pids[2]}"
wait "${pids[1]}" "${pids[3]}" "${pids[4]}" || {
    cat "$temp"/[134] >&2
    exit 1
}
await "$temp/1" "of 3 workers"
result=$(grep "done:" "$temp/1")
for worker in 3 4; do
    grep -q "$result" "$temp/$worker" || {
        echo "worker $worker has not come to '$result'" >&2
        exit 1
    }
done
echo "three of four workers came to $result"
