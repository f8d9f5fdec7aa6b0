# What the shell tests of shoal-cni share, $program: a folder for their files, $work, and a count of
# complaints; sourced.
#
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # who sources this sets program
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

complain() {
    echo "$*"
    failures=$((failures + 1))
}

expect_command() { # status pattern command...
    local status=$1 pattern=$2 got=0
    shift 2
    "$@" >"$work/out" 2>&1 </dev/null || got=$?
    [ -s "$work/out" ] || echo >"$work/out" # nothing at all is ^$
    if [ "$got" != "$status" ] || ! grep -q -e "$pattern" "$work/out"; then
        complain "$*: status $got, expected $status with '$pattern': $(cat "$work/out")"
    fi
}

expect() { # status pattern argument...
    expect_command "$1" "$2" "$program" "${@:3}"
}
