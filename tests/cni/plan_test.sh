#!/usr/bin/env bash
# shoal-cni plan and generate: each intent of plans/ with the inventories that its first line names,
# against golden plans and objects; what is generated passes validate without a warning.
#
# Usage: plan_test.sh PROGRAM [update]
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
program=$1
update=${2:-}
cd "$(dirname "$0")"
# shellcheck source=tests/cni/lib.sh
. ./lib.sh

compare() { # golden file, what it is now
    [ -z "$update" ] || cp "$2" "$1"
    diff "$1" "$2" || complain "$1 differs; where that is meant, run this with update"
}

# Sets `options` to those of a case.
options_of() {
    local node nodes
    nodes=$(sed -n '1s/^# nodes: *//p' "$1")
    options=(-i "$1")
    for node in $nodes; do
        options+=(-n "nodes/$node.json")
    done
}

expect_objects() { # name
    local got=0
    "$program" generate "${options[@]}" >"$work/$1.objects" || complain "$1: generate failed"
    compare "golden/plans/$1.yaml" "$work/$1.objects"
    "$program" generate "${options[@]}" >"$work/again"
    cmp "$work/$1.objects" "$work/again" || complain "$1: written twice, and not the same"
    "$program" validate -q --strict "$work/$1.objects" >"$work/report" || got=$?
    # host-local cannot be told from a mistake without knowing that there is one node only.
    if [ "$got" != 0 ] && grep -qv -e '\[host-local-nodes\]' -e ' note: ' "$work/report"; then
        complain "$1: status $got: $(cat "$work/report")"
    fi
    "$program" generate "${options[@]}" -o json >"$work/$1.json"
    "$program" diff "$work/$1.objects" "$work/$1.json" || complain "$1: JSON and YAML differ"
}

for case in plans/*.yaml; do
    name=$(basename "$case" .yaml)
    wanted=0
    got=0
    [[ $name == impossible-* ]] && wanted=3
    options_of "$case"
    "$program" plan "${options[@]}" >"$work/$name.txt" || got=$?
    [ "$got" = "$wanted" ] || complain "$name: plan ends with $got, not $wanted"
    compare "golden/plans/$name.txt" "$work/$name.txt"
    if [ "$wanted" = 0 ]; then
        expect_objects "$name"
    elif "$program" generate "${options[@]}" >"$work/out" 2>"$work/error"; then
        complain "$name: objects without a plan"
    elif [ -s "$work/out" ] || ! diff "$work/$name.txt" "$work/error"; then
        complain "$name: generate does not say why there is no plan"
    fi
done

# Without an intent, all is automatic.
expect 0 '^stack  *macvlan' plan -n nodes/roce-plain.json
expect 0 '"stack": "macvlan"' plan -n nodes/roce-plain.json -o json
expect 3 '"possible": false' plan -i plans/impossible-blind.yaml -o json
expect 3 'schema-unknown-field' plan -i cases/intent-schema.yaml
expect 2 'not one RdmaIntent' plan -i cases/intent.yaml
expect 2 'not one RdmaIntent' plan -i manifests/mpijob-pi.yaml
sed 's/v1alpha1/v2/' plans/sriov.yaml >"$work/version.yaml"
expect 2 'not one RdmaIntent' plan -i "$work/version.yaml"
expect 2 'alias' plan -i cases/syntax-alias.yaml
expect 2 'No such file' plan -i missing.yaml
expect 2 'no inventory' plan -n manifests/mpijob-pi.yaml
expect 2 'no output format sarif' generate -o sarif
expect 2 'unexpected argument' generate extra
expect 0 '^usage: shoal-cni plan' plan --help
expect 0 '^usage: shoal-cni generate' generate --help
[ "$failures" = 0 ]
