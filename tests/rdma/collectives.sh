#!/usr/bin/env bash
# Inside the guest: collectives over the verbs transport, with 2 to 8 ranks; values are checked.
#
# Usage: collectives.sh PATH_OF_ALLREDUCE_BENCH
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
bench=$1
export SHOAL_TRANSPORT=verbs

run() { # ranks collective
    local output
    output=$("$bench" --ranks "$1" --collective "$2" -b 8 -e 512K -f 256 -n 1 -w 1 2>&1) || {
        printf '%s of %s ranks failed:\n%s\n' "$2" "$1" "$output"
        exit 1
    }
    # Each line of the table names the transport.
    if [ "$(grep -c ' verbs ' <<<"$output")" -lt 3 ]; then
        printf '%s of %s ranks did not go over verbs:\n%s\n' "$2" "$1" "$output"
        exit 1
    fi
    echo "$2 of $1 ranks: right"
}

for ranks in 2 3 5 8; do
    run "$ranks" allreduce
done
for collective in allgather broadcast reduce reduce_scatter; do
    run 4 "$collective"
done
