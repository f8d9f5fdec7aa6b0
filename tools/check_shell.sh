#!/usr/bin/env bash
# Every shell script passes shellcheck.
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "$(command -v shellcheck || true)" ]; then
    echo "shellcheck is not installed (apt-get install shellcheck)"
    exit 77
fi
mapfile -t files < <(find tools tests bench examples .ci -name '*.sh' -o -path .ci/run | sort)
shellcheck --severity=warning --external-sources "${files[@]}"
echo "${#files[@]} scripts pass"
