#!/usr/bin/env bash
# The main job from a fresh checkout: install what is missing, build, show the allreduce table of
# four local ranks, then train on handwritten digits with four processes, and once more with workers
# that fail, leave and join.
#
# Usage: demo.sh
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/lib.sh
. tools/lib.sh

need_packages "${BUILD_PACKAGES[@]}" "${PYTHON_PACKAGES[@]}" python3
log=$PWD/build-logs/demo.log
mkdir -p "${log%/*}"

say "building (log: build-logs/demo.log)"
{ cmake --preset release && cmake --build --preset release --parallel; } >"$log" 2>&1 || {
    tail -n 40 "$log"
    die "the build failed"
}
build=$PWD/build-release

if [ -x "$build/bench/allreduce_bench" ]; then
    say ""
    say "allreduce, 4 local ranks, float32 sum:"
    "$build/bench/allreduce_bench" --ranks 4 -b 8 -e 16M -f 8
fi

say ""
say "training on handwritten digits, 4 processes together and one alone:"
python=$(python_with numpy sklearn)
PYTHONPATH=$PWD/python SHOAL_LIBRARY=$build/src/libshoal.so \
    "$build/tools/shoal" run -n 4 --no-prefix -- "$python" examples/digits.py

say ""
say "training while workers are killed, stopped, join and leave, and the coordinator restarts:"
PYTHONPATH=$PWD/python SHOAL_LIBRARY=$build/src/libshoal.so \
    "$python" examples/elastic_demo.py --shoal "$build/tools/shoal"
