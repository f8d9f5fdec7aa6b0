#!/usr/bin/env bash
# Builds Shoal in every way that it is supported and runs all tests. On a Debian 12 machine with a
# compiler it installs the rest by itself.
#
# Usage: test.sh [--lane NAME]... [--nightly] [--list]
#
#   --lane NAME   only this lane, nightly ones too; may be given several times
#   --nightly     more seeds, longer fuzzing, all tests in the guest, and the lanes ubsan and
#                 coverage; no limit of time overall
#   --list        print the lanes and their budgets in seconds
#
# Each lane has a budget of time and is a failure when it exceeds it. Logs are in build-logs/. The
# last line is "N passed, N failed, N skipped"; the exit status is 0 only if nothing failed.
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/lib.sh
. tools/lib.sh

# Lane and budget in seconds on two cores, packages already installed.
LANES=(checks:180 gcc:780 clang:480 asan-ubsan:600 tsan:540 aarch64:420 fuzz:240 python:240
    valgrind:300 rdma:1200)
NIGHTLY_LANES=(ubsan:420 coverage:900)
TOTAL_SECONDS=3480 # all lanes together end within the hour
INSTALL_SECONDS=420 # what a lane may use on top to install packages

nightly=0
wanted=()
while [ $# -gt 0 ]; do
    case $1 in
    --lane) wanted+=("${2:?--lane needs a name}") && shift ;;
    --nightly) nightly=1 ;;
    --list) printf '%s\n' "${LANES[@]}" "${NIGHTLY_LANES[@]}" && exit 0 ;;
    *) die "unknown option $1; see the head of $0" ;;
    esac
    shift
done
if [ "$nightly" = 1 ] || [ "${#wanted[@]}" -gt 0 ]; then LANES+=("${NIGHTLY_LANES[@]}"); fi

# Settings of the caller's would reach the library under test; SHOAL_TEST_* are for the tests.
for name in $(compgen -e SHOAL_ || true); do
    case $name in SHOAL_TEST_*) ;; *) unset "$name" ;; esac
done

logs=$PWD/build-logs
rm -rf "$logs"
mkdir -p "$logs"
passed=0 failed=0 skipped=0
began=$SECONDS

is_wanted() { # lane
    [ "${#wanted[@]}" -gt 0 ] || return 0
    case " ${wanted[*]} " in *" $1 "*) return 0 ;; *) return 1 ;; esac
}

# Adds a lane's JUnit files to the totals. A lane that failed without a failed test (it did not
# build, or ran out of time) counts as one failure.
count_lane() { # lane status seconds
    local lane=$1 status=$2 seconds=$3 files=() counts=(0 0 0) text="" note=""
    mapfile -t files < <(find "$logs/$lane" -name '*.xml')
    if [ "${#files[@]}" -gt 0 ]; then
        text=$(python3 tools/junit_sum.py "${files[@]}") || true # 1: some failed
        read -r -a counts <<<"${text%%$'\n'*}"
    fi
    [ "$status" != 124 ] || note=", out of time"
    if [ "$status" = 77 ]; then # the lane cannot run here; its last line says why
        counts[2]=$((counts[2] + 1))
        text+=$'\n'"skipped: $lane: $(tail -n 1 "$logs/$lane.log")"
        status=0
    fi
    if [ "$status" != 0 ] && [ "${counts[1]}" = 0 ]; then
        counts[1]=1
        tail -n 40 "$logs/$lane.log"
    fi
    passed=$((passed + counts[0])) failed=$((failed + counts[1])) skipped=$((skipped + counts[2]))
    say "$lane: ${counts[0]} passed, ${counts[1]} failed, ${counts[2]} skipped ($seconds s$note)"
    [ -z "$text" ] || tail -n +2 <<<"$text" | sed 's/^/    /'
    [ "$lane" != coverage ] || sed -n -E 's/^(lines|functions|branches):/    &/p' "$logs/$lane.log"
}

run_lane() { # lane budget number count
    local lane=$1 budget=$2 start=$SECONDS status=0 left
    left=$((TOTAL_SECONDS - (SECONDS - began)))
    budget=$((budget + INSTALL_SECONDS))
    [ "$nightly" = 1 ] && budget=$((budget * 4))
    [ "$nightly" = 1 ] || [ "$budget" -le "$left" ] || budget=$left
    say "[$3/$4] $lane (at most $budget s)"
    mkdir -p "$logs/$lane"
    if [ "$budget" -le 0 ]; then
        say "no time left" >"$logs/$lane.log"
        status=124
    else
        TEST_NIGHTLY=$nightly timeout --kill-after=10 "$budget" \
            tools/lanes.sh "$lane" "$logs/$lane" >"$logs/$lane.log" 2>&1 </dev/null || status=$?
    fi
    count_lane "$lane" "$status" $((SECONDS - start))
}

# The lane rdma needs a kernel, whose build takes minutes. It starts here, at the lowest priority,
# and uses what the lanes before leave idle; the lane waits for it, or does it again if it failed.
kernel_pid=""
start_kernel() {
    (need_packages "${KERNEL_PACKAGES[@]}") >"$logs/kernel.log" 2>&1 || return 0
    timeout --kill-after=10 "$TOTAL_SECONDS" nice -n 19 tests/rdma/guest/kernel.sh \
        >>"$logs/kernel.log" 2>&1 </dev/null &
    kernel_pid=$!
}
stop_kernel() {
    [ -z "$kernel_pid" ] || kill "$kernel_pid" 2>/dev/null || true
}
trap stop_kernel EXIT

for name in "${wanted[@]}"; do
    case " ${LANES[*]}" in
    *" $name:"*) ;;
    *) die "no lane is called $name; see --list" ;;
    esac
done
chosen=()
for entry in "${LANES[@]}"; do
    if is_wanted "${entry%%:*}"; then chosen+=("$entry"); fi
done
[ -n "$(command -v python3)" ] || need_packages python3
case " ${chosen[*]}" in *" rdma:"*) start_kernel ;; esac

number=0
for entry in "${chosen[@]}"; do
    number=$((number + 1))
    run_lane "${entry%%:*}" "${entry##*:}" "$number" "${#chosen[@]}"
done

say "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
