#!/usr/bin/env bash
# Usage: sharded_adam_elastic_test.sh SHOAL EXAMPLE
# Of four workers two are killed, one after the other, and two join. The moments come through, and
# those that were there from the beginning find their run like an undisturbed one.
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
temp=$(mktemp -d)
pids=()
trap 'kill -KILL "${pids[@]}" 2>/dev/null || true; rm -rf "$temp"' EXIT

# await FILE TEXT: until a line of a file has it.
await() {
    for ((i = 0; i < 3000; i++)); do
        if grep -qs "$2" "$1"; then return; fi
        sleep 0.01
    done
    echo "no '$2' in:" >&2
    tail -n 5 "$temp"/* >&2
    exit 1
}

# start WORKER
start() {
    "$example" "$store" 1500 4 >"$temp/$1" 2>&1 &
    pids[$1]=$!
}

example=$2
"$1" coordinator --listen 127.0.0.1:0 --journal "$temp/journal" 2>"$temp/store" </dev/null &
pids[0]=$!
await "$temp/store" incarnation
store=$(sed -n 's/.* at \([^ ,]*\), .*/\1/p' "$temp/store")
for worker in 1 2 3 4; do
    start $worker
done
await "$temp/1" "step 50 of 4"
kill -KILL "${pids[3]}"
await "$temp/1" "of 3 workers"
start 5
await "$temp/1" "of 4 workers" # of the beginning
await "$temp/5" "of 4 workers"
kill -KILL "${pids[2]}"
await "$temp/5" "of 3 workers"
start 6
await "$temp/6" "of 4 workers"
for worker in 1 4 5 6; do
    wait "${pids[$worker]}" || {
        echo "worker $worker:" >&2
        cat "$temp/$worker" >&2
        exit 1
    }
done
result=$(sed -n 's/^done: \([^ ]*\) .*/\1/p' "$temp/1")
for worker in 4 5 6; do
    grep -q "^done: $result " "$temp/$worker" || {
        echo "worker $worker has not come to $result" >&2
        exit 1
    }
done
grep "^done:" "$temp/1"
