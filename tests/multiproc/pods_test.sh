#!/usr/bin/env bash
# pods_test.sh SHOAL WORKER: an elastic job of three pods, each an agent with one worker. A pod is
# killed and replaced, the coordinator is killed and comes back, a worker is killed and started
# again by its agent; the job goes on through all of it.
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
shoal=$1 worker=$2
temp=$(mktemp -d)
declare -A agents
coordinator=0
clean_up() {
    kill -KILL "$coordinator" "${agents[@]}" 2>/dev/null || true
    rm -rf "$temp"
}
trap clean_up EXIT

fail() {
    echo "FAILED: $1" >&2
    tail -n 20 "$temp"/*.out "$temp"/*.err >&2
    exit 1
}

# await FILE TEXT COUNT: until so many lines of a file have it.
await() {
    local i
    for ((i = 0; i < 6000; i++)); do
        if [ "$(grep -c -- "$2" "$temp/$1")" -ge "${3:-1}" ]; then return; fi
        sleep 0.01
    done
    fail "no '$2' in $1"
}

coordinate() { # address
    : >"$temp/coordinator.err"
    "$shoal" coordinator --listen "$1" --journal "$temp/journal" 2>"$temp/coordinator.err" \
        </dev/null &
    coordinator=$!
    await coordinator.err incarnation
    address=$(sed -n 's/.* at \([^ ,]*\), .*/\1/p' "$temp/coordinator.err")
}

pod() { # name
    : >"$temp/$1.out"
    : >"$temp/$1.err"
    "$shoal" run --join "$address" --min 1 --max 8 --start 3 --restarts 5 --backoff 0.05 -- \
        "$worker" "$temp/stop" >"$temp/$1.out" 2>"$temp/$1.err" </dev/null &
    agents[$1]=$!
}

coordinate 127.0.0.1:0
for name in a b c; do pod "$name"; done
await a.out "3 workers"

# A pod dies, its worker with it; the others go on without either.
kill -KILL "${agents[c]}"
await a.out "2 workers"
await b.out "2 workers"

# The coordinator dies; steps go on, and it comes back with what it knew.
kill -KILL "$coordinator"
wait "$coordinator" 2>/dev/null || true
coordinate "$address"
await coordinator.err "went on from its journal"

# Somebody starts another pod.
pod d
await d.out "3 workers"
await a.out "3 workers" 2

# A worker dies; its agent starts it again.
pkill -KILL -P "${agents[b]}"
await b.err "starting it again"
await a.out "3 workers" 3
await b.out "3 workers" 3

: >"$temp/stop"
for name in a b d; do
    wait "${agents[$name]}" || fail "agent $name has status $?"
    await "$name.out" "done"
done
echo "one coordinator, one pod and one worker were killed; the job went on"
