#!/usr/bin/env bash
# Usage: run.sh CMAKE GENERATOR BUILD_FOLDER COMPILER LIBDIR VERSION
# Installs BUILD_FOLDER into a temporary prefix, moves the prefix (an install must be relocatable),
# and builds and runs the consumer by CMake and by pkg-config.
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cmake=$1 generator=$2 build=$3 compiler=$4 libdir=$5 version=$6
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$cmake" --install "$build" --prefix "$work/first" >"$work/install.log"
mv "$work/first" "$work/prefix"
prefix=$work/prefix

expect() { # program
    local printed
    printed=$(LD_LIBRARY_PATH=$prefix/$libdir "$1")
    [ "$printed" = "shoal $version 3" ] || { echo "$1 printed '$printed'" >&2; exit 1; }
}

"$cmake" -S "$here/project" -B "$work/by-cmake" -G "$generator" \
    -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$compiler" \
    >"$work/cmake.log" 2>&1 || { cat "$work/cmake.log"; exit 1; }
"$cmake" --build "$work/by-cmake" >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
expect "$work/by-cmake/consumer"

flags=$(PKG_CONFIG_PATH=$prefix/$libdir/pkgconfig pkg-config --cflags --libs shoal)
# shellcheck disable=SC2086 # flags are several words
"$compiler" -std=c11 -Wall -Wextra -pedantic -Werror "$here/project/consumer.c" \
    -o "$work/by-pkg-config" $flags
expect "$work/by-pkg-config"

# The public headers, and nothing else, are installed.
headers=$here/../../include/shoal
diff <(cd "$headers" && { ls ./*.h; echo ./version.h; } | sort) \
    <(cd "$prefix/include" && find . -type f | sed 's,^\./shoal/,./,' | sort)
echo "installed, moved, and used by CMake and by pkg-config"
