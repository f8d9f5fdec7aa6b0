#!/usr/bin/env bash
# shoal_agent_test.sh SHOAL: what `shoal coordinator`, and `shoal run` as the agent of an elastic
# pod, promise, with real processes.
# SPDX-License-Identifier: Apache-2.0
set -u
# shellcheck source=tests/multiproc/shoal_program.sh
. "$(dirname "$0")/shoal_program.sh"

# ---- the coordinator ------------------------------------------------------------------------

# coordinate ARGUMENT...: start one; leaves coordinator and, if it serves, address and incarnation.
coordinate() {
  : >"$temp/err"
  "$shoal" coordinator "$@" 2>"$temp/err" >"$temp/out" </dev/null &
  coordinator=$!
  local i
  for ((i = 0; i < 2000; i++)); do
    if grep -q 'incarnation' "$temp/err" || ! kill -0 "$coordinator" 2>/dev/null; then break; fi
    sleep 0.01
  done
  address=$(sed -n 's/.* at \([^ ,]*\), .*/\1/p' "$temp/err")
  incarnation=$(sed -n 's/.*incarnation \([0-9a-f]*\),.*/\1/p' "$temp/err")
}

coordinate --listen 127.0.0.1:0 --journal "$temp/journal" --job test
check "it says where" [ "${address%:*}" = 127.0.0.1 ]
check "it says that the journal is new" says err "new journal"
first=$incarnation
at=$address
"$shoal" coordinator --listen 127.0.0.1:0 --journal "$temp/journal" --job test \
  2>"$temp/err" </dev/null
check "a second one is refused" [ $? = 1 ]
check "and why" says err "in use by another coordinator"
kill -KILL "$coordinator"
wait "$coordinator" 2>/dev/null
coordinate --listen "$at" --journal "$temp/journal" --job test
check "killed and started again it has the same address" [ "$address" = "$at" ]
check "and the same incarnation" [ "$incarnation" = "$first" ]
check "and says so" says err "went on from its journal"
kill -TERM "$coordinator"
wait "$coordinator"
check "SIGTERM ends it well" [ $? = 0 ]
check "and is named" says err "ended by TERM"
rm "$temp/journal"
coordinate --listen "$at" --journal "$temp/journal" --job test
check "without its journal it is another incarnation" [ "$incarnation" != "$first" ]
kill -INT "$coordinator"
wait "$coordinator"
check "SIGINT ends it well" [ $? = 0 ]
coordinate --listen 127.0.0.1:0 --memory
check "in memory" says err "in memory only"
kill -TERM "$coordinator"
wait "$coordinator"
for words in "" "--listen 127.0.0.1:0" "--memory" "--listen 127.0.0.1:0 --memory --journal x" \
  "--listen 127.0.0.1:0 --memory extra" "--bogus"; do
  # shellcheck disable=SC2086
  "$shoal" coordinator $words >"$temp/out" 2>"$temp/err" </dev/null
  check "wrong usage: coordinator $words" [ $? = 2 ]
done
"$shoal" coordinator --listen 0.0.0.0:0 --memory >"$temp/out" 2>"$temp/err" </dev/null
check "no secret, no listening for other hosts" [ $? = 1 ]
check "and what to do" says err "SHOAL_SECRET_FILE"

# ---- the agent ------------------------------------------------------------------------------

SHOAL_RANK=3 SHOAL_SIZE=9 run --join 10.0.0.1:7777 --min 2 --max 8 -n 2 --job test -- sh -c '
  echo "$SHOAL_JOIN $SHOAL_WORLD_MIN-$SHOAL_WORLD_MAX from $SHOAL_WORLD_START," \
    "$SHOAL_JOB, local $SHOAL_LOCAL_RANK, rank ${SHOAL_RANK-none} of ${SHOAL_SIZE-none}"'
check "workers that end well" [ "$status" = 0 ]
check "know the job, and no fixed place" lines_are \
  "[0] 10.0.0.1:7777 2-8 from 2, test, local 0, rank none of none
[1] 10.0.0.1:7777 2-8 from 2, test, local 1, rank none of none"

run --min 1 --start 3 -- sh -c 'echo "${SHOAL_JOIN%:*} $SHOAL_WORLD_START"
  stat -L -c %a "$SHOAL_SECRET_FILE"'
check "without --join a coordinator is served here" lines_are "[0] 127.0.0.1 3
[0] 600"

# Each life leaves a mark; the third ends well.
run --min 1 --restarts 5 --backoff 0.01 -- sh -c "echo x >>$temp/lives
  [ \$(wc -l <$temp/lives) = 3 ] || exit 7"
check "a worker that fails is started again" [ "$status" = 0 ]
check "twice" count_is err "starting it again" 2
check "with its number" says err "(2 of 5)"
check "and the end of the former named" says err "worker 0 exited with status 7"

run --min 1 --restarts 2 --backoff 0.01 -- sh -c 'kill -9 $$'
check "not for ever" [ "$status" = 137 ]
check "and that is said" says err "not started again"
check "after as many as were asked for" count_is err "starting it again" 2

run --min 1 --restarts 1 --backoff 0.01 --healthy 0 -- sh -c "echo x >>$temp/healthy
  [ \$(wc -l <$temp/healthy) = 5 ] || exit 7"
check "workers that lived long enough do not count" [ "$status" = 0 ]

run --min 1 --restarts 0 -- sh -c 'exit 5'
check "no restarts" [ "$status" = 5 ]

run --min 1 -n 2 --restarts 9 --backoff 30 -- sh -c '[ "$SHOAL_LOCAL_RANK" = 1 ] && exit 5
  sleep 0.3'
check "a worker that ends well ends the job, whoever waits to be started" [ "$status" = 0 ]

run --min 1 --backoff 0.01 -- "$temp/no-such-program"
check "what cannot be run is not tried again" [ "$status" = 127 ]
check "not once" says_not err "starting it again"

run --min 1 --max 2 -n 2 --spare -- sh -c 'echo "$SHOAL_LOCAL_RANK $SHOAL_INIT_TIMEOUT_MS"'
check "a spare is one more worker, and patient" lines_are "[0] 0 86400000
[1] 1 86400000
[2] 2 86400000"

"$shoal" run --min 1 --backoff 0.01 --grace 10 -- sh -c "trap 'echo leaving; exit 0' TERM
  : >$temp/ready
  while :; do sleep 0.05; done" >"$temp/out" 2>"$temp/err" </dev/null &
job=$!
until [ -e "$temp/ready" ]; do sleep 0.01; done
kill -TERM "$job"
wait "$job"
check "SIGTERM lets workers leave" [ $? = 0 ]
check "and reaches them" says out "[0] leaving"

TORCHELASTIC_RUN_ID=1 run --min 1 -- true
check "under torchrun a job has a fixed world, and that is said" says err "torchrun"
OMPI_COMM_WORLD_RANK=0 run --min 1 -- true
check "under mpirun too" says err "mpirun"

for words in "--min 0 true" "--min 2" "--min 2 --max 1 true" "--min 2 --start 1 true" \
  "--min 1 --spare true" "--min 1 --size 2 --first-rank 0 true" "--min 1 --backoff soon true" \
  "--join h:1 --journal x true" "--max 2000 true" "--join nonsense true" "--join -- true"; do
  # shellcheck disable=SC2086
  run $words
  check "wrong usage: $words" [ "$status" = 2 ]
done

run --min 8 --max 2 true
check "with the values" says err "--max 2 is below the 8 workers"
run --join nonsense true
check "and what to write" says err 'address "nonsense" has no port 0..65535; write host:port'

exit $failed
