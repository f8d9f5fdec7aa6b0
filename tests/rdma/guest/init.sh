#!/bin/bash
# The first process of the guest. It starts on the host's root, mounted read-only; it puts an
# overlay in memory above it, moves there, runs the command, and switches the machine off.
#
# guest_shared, from the kernel's command line, is the folder shared with guest.sh: settings and
# environment are read from it; out, err and status are written to it.
#
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC1091,SC2154
set -u
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# Programs that do this belong to packages that a container lacks; Perl is on every Debian.
switch_off() {
    sync
    perl -e 'syscall(169, 0xfee1dead, 672274793, 0x4321fedc)' # reboot(2), power off
}

share() { # folder: what is written to it reaches the host
    mount -t hostfs -o "$1" none "$root$1"
}

make_root() {
    local memory=$guest_shared/root
    root=$memory/merged
    mount -t tmpfs -o size=90% none "$memory"
    mkdir "$memory/upper" "$memory/work" "$root"
    mount -t overlay -o "lowerdir=/,upperdir=$memory/upper,workdir=$memory/work" none "$root"
    mount -t proc none "$root/proc"
    mount -t sysfs none "$root/sys"
    mount -t devtmpfs none "$root/dev"
    mkdir -p "$root/dev/pts" "$root/dev/shm"
    mount -t devpts none "$root/dev/pts"
    mount -t tmpfs -o mode=1777 none "$root/dev/shm"
    mount -t tmpfs none "$root/run"
    ln -s /proc/self/fd "$root/dev/fd"
    ln -s /proc/self/fd/0 "$root/dev/stdin"
    ln -s /proc/self/fd/1 "$root/dev/stdout"
    ln -s /proc/self/fd/2 "$root/dev/stderr"
    . "$guest_shared/settings"
    share "$guest_shared"
    [ -z "$output" ] || share "$output"
}

run_command() {
    . "$guest_shared/settings"
    # What is printed reaches the host within a second.
    echo 50 >/proc/sys/vm/dirty_writeback_centisecs
    echo 50 >/proc/sys/vm/dirty_expire_centisecs
    echo guest >/proc/sys/kernel/hostname
    ip link set lo up
    ulimit -l unlimited
    (
        . "$guest_shared/environment"
        export SHOAL_TEST_GUEST=1
        cd "$folder" || exit 125
        exec "${command[@]}" </dev/null >>"$guest_shared/out" 2>>"$guest_shared/err"
    )
    echo $? >"$guest_shared/status"
}

if [ "${1-}" = moved ]; then
    run_command
    switch_off
fi
make_root
cd "$root" || exit
mount --no-mtab --move . /
exec chroot . /bin/bash "$guest_shared/init.sh" moved
