#!/usr/bin/env bash
# shoal_run_test.sh SHOAL: what `shoal run` promises, with real processes.
# SPDX-License-Identifier: Apache-2.0
set -u
# shellcheck source=tests/multiproc/shoal_program.sh
. "$(dirname "$0")/shoal_program.sh"

# Waits until a process is gone, zombies included.
gone() {
  local i
  for ((i = 0; i < 500; i++)); do
    kill -0 "$1" 2>/dev/null || return 0
    sleep 0.01
  done
  return 1
}

run -n 3 -- sh -c 'echo "$SHOAL_RANK of $SHOAL_SIZE, local $SHOAL_LOCAL_RANK"'
check "three ranks end well" [ "$status" = 0 ]
check "each knows its place" lines_are "[0] 0 of 3, local 0
[1] 1 of 3, local 1
[2] 2 of 3, local 2"

run -n 2 --no-prefix -- sh -c 'echo plain'
check "no prefix" lines_are "plain
plain"

run -n 1 -- sh -c 'printf "first\nno newline at the end"'
check "the last line needs no newline" lines_are "[0] first
[0] no newline at the end"

run -n 2 -- sh -c 'echo to stderr >&2'
check "stderr stays stderr" says err "[1] to stderr"

run -n 2 -- sh -c 'stat -L -c %a "$SHOAL_SECRET_FILE"
  wc -c <"$SHOAL_SECRET_FILE"
  env | grep -c ^SHOAL_SECRET='
check "a secret of 32 bytes in hex that only we can read" lines_are "[0] 0
[0] 600
[0] 64
[1] 0
[1] 600
[1] 64"

echo "for rank 0" >"$temp/in"
timeout 60 "$shoal" run -n 2 -- sh -c 'cat' <"$temp/in" >"$temp/out" 2>"$temp/err"
check "rank 0 has standard input, the others none" lines_are "[0] for rank 0"

run -n 3 --grace 0.2 -- sh -c '[ "$SHOAL_RANK" = 1 ] && exit 7; exec sleep 60'
check "the exit status of the first failure" [ "$status" = 7 ]
check "the first failure is named" says err "rank 1 exited with status 7"

run -n 2 --grace 0.2 -- sh -c '[ "$SHOAL_RANK" = 0 ] && kill -9 $$; exec sleep 60'
check "a signal gives 128 + its number" [ "$status" = 137 ]
check "the signal is named" says err "rank 0 was ended by signal 9"

run -n 2 --grace 0.2 -- sh -c 'trap "" TERM
  [ "$SHOAL_RANK" = 0 ] && exit 3
  while :; do sleep 1; done'
check "who ignores SIGTERM gets SIGKILL" [ "$status" = 3 ]

run -n 2 --timeout 0.3 --grace 0.2 -- sleep 60
check "a timeout gives 124" [ "$status" = 124 ]

run -n 2 -- "$temp/no-such-program"
check "no such program gives 127" [ "$status" = 127 ]
check "and is said" says err "cannot run $temp/no-such-program: No such file"

run -n 1 -- sh -c "sleep 60 & echo \$! >$temp/orphan"
check "what ranks leave behind does not keep the job" [ "$status" = 0 ]
check "and is killed" gone "$(cat "$temp/orphan")"

# Signals of the user are forwarded; the status tells.
for signal in INT TERM; do
  "$shoal" run -n 2 --grace 0.5 -- sh -c "trap 'echo got $signal; exit 0' $signal
    : >$temp/ready.\$SHOAL_RANK
    while :; do sleep 0.05; done" >"$temp/out" 2>"$temp/err" </dev/null &
  job=$!
  until [ -e "$temp/ready.0" ] && [ -e "$temp/ready.1" ]; do sleep 0.01; done
  rm "$temp/ready.0" "$temp/ready.1"
  # A shell without job control lets its background jobs ignore SIGINT; shoal watches it anyway.
  kill -"$signal" "$job"
  wait "$job"
  status=$?
  check "SIG$signal ends the job with $((128 + $(kill -l "$signal")))" \
    [ "$status" = "$((128 + $(kill -l "$signal")))" ]
  if [ "$signal" = TERM ]; then
    check "SIG$signal reaches the ranks" lines_are "[0] got $signal
[1] got $signal"
  fi
done

# When shoal run itself is killed nobody stays behind.
"$shoal" run -n 1 -- sh -c "echo \$\$ >$temp/pid; exec sleep 60" \
  >"$temp/out" 2>"$temp/err" </dev/null &
job=$!
until [ -s "$temp/pid" ]; do sleep 0.01; done
kill -KILL "$job"
wait "$job" 2>/dev/null
check "ranks die with shoal run" gone "$(cat "$temp/pid")"

# Nobody reads our output any more.
timeout 60 "$shoal" run -n 2 --grace 0.2 -- sh -c 'while :; do echo line; done' \
  2>"$temp/err" </dev/null | head -n 1 >"$temp/out"
check "a closed pipe ends the job" [ "${PIPESTATUS[0]}" = 141 ]

# Two hosts, here both this one.
printf 'a secret of enough bytes' >"$temp/secret"
chmod 600 "$temp/secret"
for node in 0 1; do
  timeout 60 "$shoal" run -n 2 --nnodes 2 --node-rank $node --rendezvous 127.0.0.1:0 \
    --secret-file "$temp/secret" -- sh -c 'echo "$SHOAL_RANK of $SHOAL_SIZE"' \
    >>"$temp/out.all" 2>>"$temp/err" </dev/null
done
mv "$temp/out.all" "$temp/out"
check "ranks are numbered through" lines_are "[0] 0 of 4
[1] 1 of 4
[2] 2 of 4
[3] 3 of 4"

# Wrong usage is said and gives 2.
for words in "" "-n 0 true" "-n x true" "-n 2" "-n 2 --nnodes 2 true" "-n 2 --node-rank 1 true" \
  "-n 2 --size 3 --first-rank 2 --rendezvous h:1 true" "-n 2 --size 4 --first-rank 0 true" \
  "-n 2 --nnodes 2 --node-rank 2 --rendezvous h:1 true" "-n 1 --timeout soon true" \
  "--bogus true"; do
  # shellcheck disable=SC2086
  run $words
  check "wrong usage: $words" [ "$status" = 2 ]
done
run -n 1 --rendezvos h:1 true
check "the nearest option is suggested" says err "did you mean --rendezvous?"
run -n
check "a missing value is named" says err "shoal run: option requires an argument -- 'n'"
chmod 644 "$temp/secret"
run -n 1 --secret-file "$temp/secret" true
check "a secret that others can read is refused" says err "chmod 600"
SHOAL_BOGUS=1 run -n 1 true
check "an unknown setting is refused before anything starts" [ "$status" = 2 ]
run -n 5000 -- true
check "more ranks than a host takes are refused" [ "$status" = 2 ]
check "and told how many it takes" says err "at most 4096 ranks"

exit $failed
