#!/usr/bin/env bash
# Runs a command in a guest whose Linux kernel has Soft-RoCE and soft iWARP: a User-Mode-Linux
# process of this user's that boots in a second or two. The guest sees the host's files, and what it
# writes to them is gone when it ends. Output, exit status, environment and working folder carry
# over; the standard input is empty. Any number may run at the same time.
#
# Usage: guest.sh [option]... command [argument]...
#
#   -d DEVICES   what guest/devices.sh makes before the command starts, such as "rxe=2 siw=2"
#   -o FOLDER    what is written below it stays
#   -t SECONDS   limit of time (300)
#   -m MIB       the guest's memory (1024); the host gives it as it is touched
#   -n TAP       the guest's interface vec0 is at this tap device, which is there already
#   -p FILE      gets the number of the guest's process: SIGSTOP freezes the guest, SIGCONT thaws it
#   -v           show the guest's console when all is over
#
# A signal that ends this script kills the guest at once, as a crash does.
#
# Exit status: the command's; 124 the limit was reached; 125 the guest died (the end of its console
# follows) or could not start. Inside, SHOAL_TEST_GUEST is 1.
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail

fail() { # reason
    printf 'guest.sh: %s\n' "$*" >&2
    exit 125
}

here=$(cd "$(dirname "$0")" && pwd)
devices="" output="" limit=300 memory=1024 tap="" process_file=/dev/null verbose=0
while getopts d:o:t:m:n:p:v option; do
    case $option in
    d) devices=$OPTARG ;;
    o) output=$OPTARG ;;
    t) limit=$OPTARG ;;
    m) memory=$OPTARG ;;
    n) tap=$OPTARG ;;
    p) process_file=$OPTARG ;;
    v) verbose=1 ;;
    *) fail "unknown option; the head of $0 lists them" ;;
    esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || fail "no command"
[ "$(uname -m)" = x86_64 ] || fail "the guest kernel is built for x86_64 only"
kernel=$("$here/guest/kernel.sh" --find) || kernel=$("$here/guest/kernel.sh") ||
    fail "no guest kernel"
if [ -n "$output" ]; then
    mkdir -p "$output"
    output=$(cd "$output" && pwd)
fi

guest_pid=""
network=()
[ -z "$tap" ] || network=("vec0:transport=tap,ifname=$tap,mtu=9000")
shared=$(mktemp -d /tmp/shoal-guest.XXXXXX) # both sides see it; its name has no blanks
# The guest's programs run in processes that its kernel traces. If it were killed alone, they would
# go on as processes of the host; so its group, which it makes as it starts, goes with it.
kill_guest() {
    [ ! -s "$shared/process" ] || kill -KILL -- "-$(<"$shared/process")" 2>/dev/null || true
}
finish() {
    if [ -n "$guest_pid" ]; then
        kill_guest
        kill "$guest_pid" 2>/dev/null || true # before the group is there
    fi
    rm -rf "$shared"
}
trap finish EXIT
trap 'exit 143' INT TERM HUP

command=("$@")
if [ -n "$devices" ]; then
    read -r -a devices_wanted <<<"$devices"
    command=("$here/guest/devices.sh" "${devices_wanted[@]}" "$@")
fi
folder=$PWD
mkdir "$shared/root"
touch "$shared/out" "$shared/err"
cp "$here/guest/init.sh" "$shared/init.sh"
declare -p command folder output >"$shared/settings"
export -p >"$shared/environment"

# What passes for the CPU's random numbers are the host's; to gather its own takes a guest seconds.
# shellcheck disable=SC2016
timeout --kill-after=5 "$limit" bash -c 'echo $$ | tee "$0" "$1" >/dev/null; exec "${@:2}"' \
    "$shared/process" "$process_file" \
    "$kernel" "mem=${memory}M" uml_dir="$shared/" "${network[@]}" \
    root=none rootfstype=hostfs ro init="$shared/init.sh" guest_shared="$shared" \
    con=null con0=null,fd:1 ssl=null loglevel=5 \
    random.trust_cpu=on </dev/null >"$shared/console" 2>&1 &
guest_pid=$!
tail --follow --lines=+1 --sleep-interval=0.1 --pid="$guest_pid" "$shared/out" &
tail --follow --lines=+1 --sleep-interval=0.1 --pid="$guest_pid" "$shared/err" >&2 &
ended=0
wait "$guest_pid" || ended=$?
kill_guest # what is left of one that was killed
guest_pid=""
wait # until the tails have shown the rest

if [ "$verbose" = 1 ]; then cat "$shared/console" >&2; fi
if [ -s "$shared/status" ]; then exit "$(<"$shared/status")"; fi
if [ "$verbose" = 0 ]; then tail --lines=30 "$shared/console" >&2; fi
if [ "$ended" = 124 ] || [ "$ended" = 137 ]; then
    printf 'guest.sh: the limit of %s s was reached\n' "$limit" >&2
    exit 124
fi
fail "the guest ended with status $ended before its command did"
