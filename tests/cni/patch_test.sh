#!/usr/bin/env bash
# shoal-cni patch: files of every layout against golden files; every workload among the real
# manifests keeps all of its lines, gains only what the patch is about, and is not changed again.
#
# Usage: patch_test.sh PROGRAM [update]
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
program=$1
update=${2:-}
cd "$(dirname "$0")"
# shellcheck source=tests/cni/lib.sh
. ./lib.sh

expect_patch() { # name file intent node
    local got=0 options=(-i "patches/intents/$3.yaml" -n "nodes/$4.json")
    "$program" patch "${options[@]}" "$2" >"$work/$1" 2>"$work/error" || got=$?
    [ "$got" = 0 ] || complain "$1: status $got"
    sed "s|^|# |" "$work/error" | cat "$work/$1" - >"$work/golden"
    [ -z "$update" ] || cp "$work/golden" "golden/patches/$1"
    diff "golden/patches/$1" "$work/golden" || complain "$1 differs; where meant, run with update"
    "$program" patch "${options[@]}" - <"$work/$1" >"$work/again" 2>/dev/null
    cmp "$work/$1" "$work/again" || complain "$1: a second patch changes it"
    "$program" generate "${options[@]}" >"$work/networks.yaml"
    "$program" validate -q "$work/networks.yaml" "$work/$1" >"$work/report" ||
        complain "$1: $(cat "$work/report")"
}

for case in patches/*.yaml; do
    intent=$(sed -n '1s/^# intent: *//p' "$case")
    node=$(sed -n '2s/^# nodes: *//p' "$case")
    expect_patch "$(basename "$case")" "$case" "$intent" "$node"
done
expect_patch pod.json patches/pod.json llm roce-a
python3 -m json.tool "$work/pod.json" >"$work/null" || complain "pod.json is no JSON any more"

# Lines that end as on Windows stay lines.
sed 's/$/\r/' patches/tfjob.yaml >"$work/crlf.yaml"
"$program" patch -n nodes/roce-a.json "$work/crlf.yaml" >"$work/out" 2>/dev/null
grep -v $'\r' "$work/out" | grep -q 'IPC_LOCK' || complain "lines with CR were not patched"

# The operator reads roles of a TFJob in any case: its evaluator stays apart.
for role in Evaluator evaluator; do
    sed "s/Evaluator/$role/" patches/tfjob.yaml >"$work/role.yaml"
    "$program" patch -n nodes/roce-a.json "$work/role.yaml" >"$work/out" 2>/dev/null || true
    [ "$(grep -c 'IPC_LOCK' "$work/out")" = 1 ] || complain "$role: $(cat "$work/out")"
done

# Real manifests: nothing is lost but what gets a new value in its place.
patched=0
for file in manifests/*.yaml; do
    got=0
    "$program" patch -i patches/intents/llm.yaml -n nodes/roce-a.json "$file" \
        >"$work/out" 2>"$work/error" || got=$?
    if [ "$got" = 2 ]; then
        grep -q 'nothing to patch' "$work/error" || complain "$file: $(cat "$work/error")"
        continue
    fi
    patched=$((patched + 1))
    sed -e '$a\' "$file" | diff -bB - "$work/out" | grep '^<' >"$work/lost" || true
    if grep -qv -e 'cni.cncf.io/networks' -e 'runAsUser' -e '[][{}]' -e '"mac"' "$work/lost"; then
        complain "$file lost lines: $(cat "$work/lost")"
    fi
    "$program" diff "$file" "$work/out" >"$work/changes" || true
    if grep -q '^  - ' "$work/changes"; then
        complain "$file lost values: $(grep '^  - ' "$work/changes")"
    fi
done
[ "$patched" = 35 ] || complain "$patched real manifests were patched, not 35"

expect_fault() { # status pattern argument...
    expect "$1" "$2" patch "${@:3}"
}

cat >"$work/odd.yaml" <<'END'
apiVersion: v1
kind: Pod
metadata: {name: odd, annotations: [1]}
spec: {containers: [{name: a, image: b}]}
END
# A file that does not end its last line: several edits there, and no empty lines between them.
node=nodes/roce-a.json
printf 'apiVersion: v1\nkind: Pod\nmetadata:\n  name: short\nspec:\n  containers:\n  - name: a' \
    >"$work/short.yaml"
"$program" patch -q -n "$node" "$work/short.yaml" >"$work/out" || complain "short.yaml: $?"
! grep -n '^$' "$work/out" || complain "short.yaml: empty lines"
[ "$(tail -c 1 "$work/out" | wc -l)" = 1 ] || complain "short.yaml: its last line does not end"
expect_fault 0 '^usage: shoal-cni patch' --help
expect_fault 0 'openshift.io/rail1' -n "$node" -f patches/tfjob.yaml
expect_fault 2 'annotations cannot be patched' -n "$node" "$work/odd.yaml"
expect_fault 2 'nothing to patch' -n "$node" manifests/nad-bond.yaml
expect_fault 2 'nothing to patch' -n "$node" -i patches/intents/chosen.yaml patches/tfjob.yaml
expect_fault 2 'alias' -n "$node" cases/syntax-alias.yaml
expect_fault 2 'No such file' -n "$node" missing.yaml
expect_fault 2 'patch takes one file' -n "$node"
expect_fault 2 'patch takes one file' -n "$node" a b
expect_fault 3 'no plan, because' patches/tfjob.yaml
expect_fault 3 'pod-security' -n "$node" cases/patched-namespace.yaml
[ "$failures" = 0 ]
