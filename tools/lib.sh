# Functions that the scripts of tools/ share; sourced, not run.
#
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034

# What each purpose needs from Debian 12.
BUILD_PACKAGES=(gcc libc6-dev cmake ninja-build pkg-config libyaml-dev libhwloc-dev libssl-dev
    libjansson-dev libibverbs-dev librdmacm-dev libcurl4-openssl-dev)
TEST_PACKAGES=(libcmocka-dev python3 python3-yaml iproute2 jq containernetworking-plugins)
ETCD_PACKAGES=(etcd-server openssl)
CHECK_PACKAGES=(clang-format-14 g++ shellcheck)
CLANG_PACKAGES=(clang-14 clang libclang-rt-14-dev llvm-14)
CROSS_PACKAGES=(gcc-aarch64-linux-gnu qemu-user dpkg-dev)
VALGRIND_PACKAGES=(valgrind libc6-dbg)
PYTHON_PACKAGES=(python3-numpy python3-sklearn python3-pip python3-venv)
TORCH_PACKAGES=(python3-torch)
NETWORK_PACKAGES=(iproute2)
KERNEL_PACKAGES=(linux-source-6.1 make gcc libc6-dev bison flex bc xz-utils)
RDMA_PACKAGES=(libibverbs-dev librdmacm-dev ibverbs-providers iproute2 nftables)
COVERAGE_PACKAGES=(gcovr)

say() {
    printf '%s\n' "$*"
}

die() {
    printf '%s\n' "$*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

missing_packages() { # package...
    local package
    for package in "$@"; do
        case $(dpkg-query --show --showformat='${db:Status-Abbrev}' "$package" 2>/dev/null) in
        ii*) ;;
        *) say "$package" ;;
        esac
    done
}

install_packages() { # package...
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes \
        --no-install-recommends "$@"
}

# need_packages package...: install what is missing. Without network it works if nothing is.
need_packages() {
    command -v dpkg-query >/dev/null ||
        die "this script installs with apt on Debian; install the equivalents of: $*"
    local missing
    mapfile -t missing < <(missing_packages "$@")
    [ "${#missing[@]}" -gt 0 ] || return 0
    say "installing ${missing[*]}"
    # Package lists are fetched only if those at hand do not do.
    install_packages "${missing[@]}" >/dev/null 2>&1 && return 0
    as_root apt-get update --quiet=2 || true # one unreachable source need not matter
    install_packages "${missing[@]}" || die "could not install ${missing[*]}"
}

# python_with module...: the first Python that has these; what apt installs belongs to Debian's.
python_with() {
    local python imports
    imports=$(printf 'import %s\n' "$@")
    for python in python3 /usr/bin/python3; do
        if "$python" -c "$imports" 2>/dev/null; then
            say "$python"
            return 0
        fi
    done
    die "no Python has all of: $*"
}
