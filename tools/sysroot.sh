#!/usr/bin/env bash
# Unpacks Debian's arm64 libraries and headers into a folder, for cmake/toolchain-aarch64.cmake.
# apt runs with its own state under that folder: the machine's packages and architectures stay as
# they are, and no right to install is needed.
#
# Usage: sysroot.sh FOLDER
#
# Exit status 77: no source of packages can be reached.
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail

PACKAGES=(libc6-dev linux-libc-dev libgcc-12-dev libcmocka-dev libhwloc-dev libyaml-dev libssl-dev
    libjansson-dev)

folder=${1:?usage: sysroot.sh FOLDER}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
stamp=$folder/.unpacked
[ "$(cat "$stamp" 2>/dev/null)" != "${PACKAGES[*]}" ] || exit 0

state=$folder/.apt
mkdir -p "$state/lists/partial" "$state/archives/partial"
: >"$state/status"
options=(
    -o APT::Architecture=arm64 -o APT::Architectures=arm64
    -o Dir::State="$state" -o Dir::State::lists="$state/lists" -o Dir::State::status="$state/status"
    -o Dir::Cache="$state" -o Dir::Cache::archives="$state/archives"
    -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none
)
# Sources of other vendors may lack arm64; only their absence may be ignored.
apt-get "${options[@]}" -qq update || echo "some package lists could not be read; going on" >&2
if [ -z "$(find "$state/lists" -name '*binary-arm64_Packages*')" ]; then
    echo "no source of arm64 packages can be reached"
    exit 77
fi
apt-get "${options[@]}" -qq --yes --no-install-recommends --download-only install "${PACKAGES[@]}"

for package in "$state"/archives/*.deb; do
    dpkg-deb --extract "$package" "$folder"
done
# Links to absolute paths would lead out of the sysroot.
find "$folder" -type l -lname '/*' | while read -r link; do
    target=$folder$(readlink "$link")
    ln -sfn "$(realpath --no-symlinks --relative-to="$(dirname "$link")" "$target")" "$link"
done
rm -rf "$state"
echo "${PACKAGES[*]}" >"$stamp"
