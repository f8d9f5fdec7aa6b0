#!/usr/bin/env bash
# Usage: run_test.sh SHOAL EXAMPLE
# Four ranks of the example print the sum 0 + 1 + 2 + 3.
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
printed=$("$1" run -n 4 -- "$2")
for rank in 0 1 2 3; do
    grep -q "rank $rank: the sum of all ranks is 6" <<<"$printed" || {
        echo "rank $rank printed no sum of 6 in: $printed" >&2
        exit 1
    }
done
echo "four ranks agree"
