#!/usr/bin/env bash
# Runs the tests of a build that need RDMA: each in a guest of its own, as many guests at a time as
# this machine has CPUs, since a guest has one.
#
# Usage: run_tests.sh BUILD_FOLDER RESULTS_FOLDER [ctest argument]...
#
# The results folder gets rdma.xml (JUnit). Arguments such as `--tests-regex siw` choose among the
# tests, `--parallel 1` runs one guest at a time; tests marked NIGHTLY run with TEST_NIGHTLY=1.
# Skips (77) when no guest kernel is built yet, as building one takes minutes: guest/kernel.sh does
# it.
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$1" && pwd)
mkdir -p "$2"
results=$(cd "$2" && pwd)
shift 2

if ! "$here/guest/kernel.sh" --find >/dev/null; then
    echo "no guest kernel is built; tests/rdma/guest/kernel.sh builds it in some minutes"
    exit 77
fi
if [ "${TEST_NIGHTLY:-0}" = 0 ]; then
    set -- --label-exclude nightly "$@"
fi
exec ctest --test-dir "$build/tests/rdma/guest" --output-junit "$results/rdma.xml" \
    --output-on-failure --test-output-size-passed 65536 --no-tests=error \
    --parallel "$(nproc)" "$@"
