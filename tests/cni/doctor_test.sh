#!/usr/bin/env bash
# shoal-cni doctor: described trees against golden reports, as pod and as node; this machine; peers.
#
# With the program `shoal`: its subcommand doctor is the same.
#
# Usage: doctor_test.sh PROGRAM [SHOAL|update]
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
program=$1
shoal=${2:-}
update=""
if [ "$shoal" = update ]; then shoal="" update=yes; fi
cd "$(dirname "$0")"
# shellcheck source=tests/cni/tree.sh
. ./tree.sh
# shellcheck source=tests/cni/lib.sh
. ./lib.sh

expect_report() { # tree place status
    local got=0
    [ -d "$work/$1" ] || build_tree "trees/$1.txt" "$work/$1"
    env PCIDEVICE_RDMA_RAIL=0000:00:01.0,0000:99:00.0 PCIDEVICE_RDMA_RAIL_INFO='{}' \
        SHOAL_IB_TRAFFIC_CLASS=104 OMPI_COMM_WORLD_SIZE=1 RANK=2 WORLD_SIZE=8 PET_NPROC_PER_NODE=2 \
        "$program" doctor "--$2" --sysfs-root "$work/$1" >"$work/report" || got=$?
    [ "$got" = "$3" ] || complain "$1 as $2: status $got, expected $3"
    [ -z "$update" ] || cp "$work/report" "golden/doctor/$1-$2.txt"
    diff "golden/doctor/$1-$2.txt" "$work/report" || complain "$1 as $2 differs"
}

for place in pod node; do
    expect_report doctor-pod "$place" 3
    expect_report shared-two-rails "$place" 3
    expect_report exclusive-infiniband "$place" 5
done
expect_report doctor-guids node 3
expect_report doctor-node node 0
expect_report doctor-node pod 3

# Ranks: as many as slots; more than one a node; beyond the end.
launched() { # variable... pattern
    local pattern=${*: -1}
    env "${@:1:$#-1}" "$program" doctor --pod --sysfs-root "$work/doctor-node" >"$work/out" || true
    grep -q "launch-size  *$pattern" "$work/out" || complain "$*: $(grep launch "$work/out")"
}
launched PMI_SIZE=5 '3 hosts with 5 slots, all of them taken'
launched OMPI_COMM_WORLD_SIZE=4 'ranks started: 4; the hostfile has 3 hosts with 5'
launched RANK=1 WORLD_SIZE=2 'RANK 1 of WORLD_SIZE 2'
launched RANK=3 WORLD_SIZE=2 'RANK is 3 of WORLD_SIZE 2'
launched RANK=x '3 hosts with 5 slots$'

# The mode after a restart: the command line where no file says another, and the kernel's default.
restarted() { # file text pattern
    rm -rf "$work/doctor-guids/etc"
    mkdir -p "$work/doctor-guids/${1%/*}"
    printf '%b\n' "$2" >"$work/doctor-guids/$1"
    "$program" doctor --node --sysfs-root "$work/doctor-guids" >"$work/out" || true
    grep -q "netns-boot  *$3" "$work/out" || complain "$1 $2: $(grep netns-boot "$work/out")"
}
restarted proc/cmdline 'quiet ib_core.netns_mode=n ro' 'shared now, exclusive .* in /proc/cmdline'
restarted etc/modprobe.d/a.conf 'options ib_core netns_mode=on' 'shared after .*/modprobe.d/a.conf'
restarted etc/modprobe.d/a.conf 'options ib_core netns_mode=?' 'shared now, .* in /proc/cmdline'
restarted proc/cmdline 'quiet' "shared after a restart, too: the kernel's default"

# Every check has something to say somewhere, but those that need this machine or a peer.
for check in $("$program" explain | sed -n 's/ *doctor .*//p'); do
    case $check in
    peer* | probe* | dev-shm) ;;
    *) grep -qw -e "$check" golden/doctor/*.txt || complain "no report shows $check" ;;
    esac
done

tree=$work/doctor-pod
expect 3 '"verdict": "error"' doctor --pod -o json --sysfs-root "$tree"
expect 3 '^  verdict: error' doctor --pod -o yaml --sysfs-root "$tree"
expect 3 '^error   [^o]* memlock-limit' doctor --node -q --sysfs-root "$tree"
expect 3 'loopback\|over lo' doctor --node --peer 127.0.0.1 --sysfs-root "$tree"
expect 3 'peer-connect' doctor --node --peer 127.0.0.1:1 --sysfs-root "$tree"
expect 3 'peer  *nobody.invalid' doctor --node --peer nobody.invalid --sysfs-root "$tree"
expect 0 'a check of doctor' explain memlock-limit
expect 0 '^usage: shoal-cni doctor' doctor --help
expect 2 'say which' doctor
expect 2 'say which' doctor --pod --node
expect 2 'no output format sarif' doctor --pod -o sarif
expect 2 'unexpected argument' doctor --pod extra
expect 2 'No such file' doctor --pod --sysfs-root "$work/missing"
expect 2 'leave --sysfs-root out' doctor --pod --probe --sysfs-root "$tree"
expect 3 '"verdict": "error"' doctor --pod --json --sysfs-root "$tree"
expect 0 'a check of doctor.*64 MiB' explain probe-large

# This machine, whatever it has.
got=0
"$program" doctor --pod >"$work/out" || got=$?
[[ $got =~ ^[035]$ ]] || complain "live: status $got"
grep -q ' dev-shm ' "$work/out" || complain "live: $(cat "$work/out")"
probed=0
"$program" doctor --pod --probe -o json >"$work/out" || probed=$?
[[ $probed =~ ^[035]$ ]] || complain "probe: status $probed"
[ "$got" = 0 ] || [ "$probed" = "$got" ] || complain "probe: status $probed, without $got"
grep -q '"check": "probe-ports"' "$work/out" || complain "probe: $(cat "$work/out")"

# `shoal doctor` is the same, under its own name.
if [ -n "$shoal" ]; then
    mine=0 theirs=0
    "$program" doctor --node --json --sysfs-root "$tree" >"$work/mine" || mine=$?
    "$shoal" doctor --node --json --sysfs-root "$tree" >"$work/theirs" || theirs=$?
    [ "$mine" = "$theirs" ] || complain "shoal doctor: status $theirs, shoal-cni's is $mine"
    cmp "$work/mine" "$work/theirs" || complain "shoal doctor reports something else"
    program=$shoal
    expect 0 '^usage: shoal doctor' doctor --help
    expect 2 '^shoal: say which' doctor
    expect 2 '^shoal: no output format' doctor --pod -o xml
    expect 0 '^  doctor ' --help
fi
[ "$failures" = 0 ]
