# What the tests of the elastic examples share: a folder for their files, $temp, processes that end
# with the test, and a coordinator; sourced.
#
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
temp=$(mktemp -d)
pids=() # the coordinator's, then those of workers by their number
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

# coordinate SHOAL: start a coordinator, whose address is in $store.
coordinate() {
    "$1" coordinator --listen 127.0.0.1:0 --journal "$temp/journal" 2>"$temp/store" </dev/null &
    pids[0]=$!
    await "$temp/store" incarnation
    store=$(sed -n 's/.* at \([^ ,]*\), .*/\1/p' "$temp/store")
}

# start WORKER COMMAND...: what it says is in $temp/WORKER.
start() {
    "${@:2}" >"$temp/$1" 2>&1 &
    pids[$1]=$!
}

# await_workers WORKER...: until they have ended, and well.
await_workers() {
    for worker in "$@"; do
        wait "${pids[$worker]}" || {
            echo "worker $worker:" >&2
            cat "$temp/$worker" >&2
            exit 1
        }
    done
}
