#!/usr/bin/env bash
# Every C file is as clang-format leaves it. The version is pinned: others format differently.
# Usage: check_format.sh [--fix]
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cd "$(dirname "$0")/.."
version=14
formatter=$(command -v clang-format-$version || true)
if [ -z "$formatter" ]; then
    echo "clang-format-$version is not installed (apt-get install clang-format-$version)"
    exit 77
fi
mapfile -t files < <(find include src tests bench tools examples cni \
    \( -name '*.c' -o -name '*.h' -o -name '*.cu' \) -print 2>/dev/null | sort)
if [ "${1:-}" = --fix ]; then
    "$formatter" -i "${files[@]}"
else
    "$formatter" --dry-run --Werror "${files[@]}"
fi
echo "${#files[@]} files formatted"
