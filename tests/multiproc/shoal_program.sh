# For tests of the program `shoal`, which read this with its path as $1: a folder $temp, `run`,
# and assertions that count in $failed.
# shellcheck shell=bash disable=SC2034
#
# SPDX-License-Identifier: Apache-2.0
shoal=$1
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT
failed=0

# check TEXT CONDITION...: one assertion.
check() {
  local what=$1
  shift
  if ! "$@"; then
    echo "FAILED: $what"
    sed 's/^/  out| /' "$temp/out"
    sed 's/^/  err| /' "$temp/err"
    failed=1
  fi
}

# run ARGUMENT...: leaves status, $temp/out and $temp/err.
run() {
  timeout 60 "$shoal" run "$@" >"$temp/out" 2>"$temp/err" </dev/null
  status=$?
}

says() { grep -qF -- "$2" "$temp/$1"; }
says_not() { ! says "$@"; }
lines_are() { [ "$(sort "$temp/out")" = "$1" ]; }
count_is() { [ "$(grep -cF -- "$2" "$temp/$1")" = "$3" ]; }
