#!/usr/bin/env bash
# Builds the guest kernel: Debian's Linux 6.1 as a User-Mode-Linux program, with Soft-RoCE and soft
# iWARP. Takes minutes (at the lowest priority), so the result is kept in a cache, under a name that
# follows from all that went into it; without the cache everything works, only slower.
#
# Usage: kernel.sh [--find]
#
#   --find   build nothing: print the kernel's path, or end with status 1 if there is none yet
#
# Prints the kernel's path; what the build says goes to standard error. SHOAL_TEST_KERNEL_CACHE
# names another folder than $XDG_CACHE_HOME/shoal-guest.
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=tools/lib.sh
. ../../../tools/lib.sh

SOURCE=linux-source-6.1
cache=${SHOAL_TEST_KERNEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/shoal-guest}

cached_path() { # the file in which a kernel of these sources and options is kept
    local version key
    version=$(dpkg-query --show --showformat='${Version}' "$SOURCE" 2>/dev/null) || return 1
    key=$(cat kernel.config kernel.sh - <<<"$version $(uname -m)" | sha256sum)
    say "$cache/linux-${version%%-*}-${key:0:16}"
}

# Other architectures and drivers of real devices are two thirds of the files; of such drivers only
# the Kconfig files and makefiles are read.
unpack() { # folder
    local driver left_out=('*/Documentation/*/*' '*/tools/testing/*' '*/sound/*.[ch]'
        '*/arch/[!ux]*/*.[chS]' '*/boot/dts/*')
    for driver in clk gpu iio media net/ethernet net/wireless pinctrl scsi staging usb; do
        left_out+=("*/drivers/$driver/*.[ch]")
    done
    tar --extract --file="/usr/src/$SOURCE.tar.xz" --directory="$1" --strip-components=1 \
        --wildcards "${left_out[@]/#/--exclude=}"
}

# edit file pattern replacement: every edit must find what it replaces.
edit() {
    grep --quiet -- "$2" "$1" || die "$1 has no '$2': this script does not know $SOURCE's version"
    sed --in-place "s/$2/$3/" "$1"
}

compile() { # folder kernel
    local lost
    cd "$1"
    # The state of a CPU with tile registers (AMX) is larger than what this architecture sets aside.
    edit arch/x86/um/user-offsets.c 'HOST_FP_SIZE, [0-9]*' 'HOST_FP_SIZE, 16384'
    # At its 100 Hz, ranks that poll on the one CPU would wait 10 ms for their turns.
    edit arch/um/Kconfig 'default 100$' 'default 1000'
    make --silent ARCH=um KCONFIG_ALLCONFIG="$config" allnoconfig
    lost=$(grep '^CONFIG_' "$config" | grep --invert-match --line-regexp --fixed-strings \
        --file=.config || true)
    [ -z "$lost" ] || die "$SOURCE's version refuses" "$lost"
    nice -n 19 make --silent ARCH=um --jobs="$(nproc)" linux
    strip -o "$2.new" linux
    mv "$2.new" "$2"
}

config=$PWD/kernel.config
if [ "${1-}" = --find ]; then
    kernel=$(cached_path) && [ -x "$kernel" ] && say "$kernel"
    exit
fi

need_packages "${KERNEL_PACKAGES[@]}" >&2
kernel=$(cached_path)
mkdir -p "$cache"
exec 9>"$kernel.lock"
flock 9 # whoever comes second waits, and finds the kernel there
if [ ! -x "$kernel" ]; then
    tree=$(mktemp -d "$cache/build.XXXXXX")
    trap 'rm -rf "$tree"' EXIT
    unpack "$tree"
    (compile "$tree" "$kernel") >&2 9>&-
fi
say "$kernel"
