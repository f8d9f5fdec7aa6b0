#!/usr/bin/env bash
# Runs the tests of a build that need RDMA, all in one guest.
#
# Usage: run_tests.sh BUILD_FOLDER RESULTS_FOLDER [ctest argument]...
#
# The results folder gets rdma.xml (JUnit) and keeps whatever else a test writes there. Arguments
# such as `--tests-regex siw` choose among the tests; those marked NIGHTLY run with TEST_NIGHTLY=1.
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
seconds=1500
if [ "${TEST_NIGHTLY:-0}" = 0 ]; then
    set -- --label-exclude nightly "$@"
else
    seconds=4800
fi
exec "$here/guest.sh" -t "$seconds" -o "$results" \
    ctest --test-dir "$build/tests/rdma/guest" --output-junit "$results/rdma.xml" \
    --output-on-failure --test-output-size-passed 65536 --no-tests=error "$@"
