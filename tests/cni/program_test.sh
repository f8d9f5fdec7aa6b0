#!/usr/bin/env bash
# shoal-cni as a user calls it: exit statuses, formats, folders, standard input, help.
#
# Usage: program_test.sh PROGRAM
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
program=$1
cd "$(dirname "$0")"
# shellcheck source=tests/cni/lib.sh
. ./lib.sh

clean=cases/tutorial-ipoib-corrected.yaml
warned=manifests/nad-ib-sriov.yaml
wrong=cases/tutorial-ipoib.yaml

expect 0 '^0 errors, 0 warnings' validate "$clean"
expect 0 '1 warning' validate "$warned"
expect 4 '1 warning' validate --strict "$warned"
expect 3 'ipoib-master' validate -q -f "$wrong"
expect 3 'ipoib-master' validate --strict "$wrong"
expect 2 'alias' validate "$clean" cases/syntax-alias.yaml
expect 3 '"version": "2.1.0"' validate -o sarif "$wrong"
expect 3 '"rule": "ipoib-master"' validate --output json "$wrong"
expect 3 $'\033' validate --color always "$wrong"
expect 3 'netop-ib-sriov-ib-network.yaml:24: error' validate manifests
expect 2 'No such file' validate missing.yaml
expect 2 'nothing to validate' validate
expect 2 'no manifests' validate "$work"
expect 2 'no output format xml; there are text, json, yaml and sarif' validate -o xml "$clean"
expect 2 'takes auto' validate --color sometimes "$clean"
expect 2 "^shoal-cni validate: unrecognized option '--wrong'" validate --wrong "$clean"
expect 0 '^usage: shoal-cni validate' validate --help
expect 0 '^usage: shoal-cni explain' explain --help
expect 0 '^ipoib-master (error)' explain ipoib-master
expect 0 '^memlock ' explain
expect 0 '"cause"' explain -o json ipoib-master
expect 0 '^- check: memlock-limit' explain -o yaml memlock-limit
expect 2 'no output format sarif' explain -o sarif
expect 2 'no rule or check memlok, did you mean memlock?' explain memlok
expect 2 'did you mean memlock-limit?' explain memlock-limt
expect 2 'did you mean validate' validat
expect 2 'did you mean validate? see shoal-cni --help' validat
expect 2 '^usage' # no command
expect 0 '^usage' --help
expect 0 '^usage' -h
expect 2 'the command comes before its options, such as -q' -q validate "$clean"

# Options that all commands have.
for command in inspect plan generate patch validate doctor explain diff schema; do
    expect 0 "^usage: shoal-cni $command" "$command" -h
    place=()
    [ "$command" != doctor ] || place=(--pod)
    expect 2 'takes auto, always or never' "$command" "${place[@]}" --color sometimes
    expect 0 '--quiet' "$command" --help
done
expect 0 '^memlock  *warning' explain --quiet --color always memlock
expect 3 '^$' diff --quiet nodes/roce-a.json nodes/roce-b.json
expect 0 '^$' schema --quiet Pod
expect 2 'keeps the format of its file' patch -o json manifests/pytorchjob-simple.yaml
expect 2 'missing.xml: No such file' inspect --hwloc-xml missing.xml
expect 2 'pods.yaml: no topology of hwloc' inspect --hwloc-xml cases/pods.yaml
expect 0 '^shoal-cni [0-9]' --version

expect 3 'has no interface ib0' validate -n golden/shared-two-rails.json $clean
expect 2 'no inventory' validate --node manifests/mpijob-pi.yaml $clean
expect 2 'No such file' validate --node missing.json $clean
expect 2 'alias' validate --node cases/syntax-alias.yaml $clean

# Differences: by object and path, whatever the layout.
expect 0 '^usage: shoal-cni diff' diff --help
one=golden/plans/macvlan.yaml
sed -e '1i # a comment' -e 's/"master": "ens1f0np0"/"master": "eth1",   "mode": "vepa"/' \
    -e '0,/"mode": "bridge",/{/"mode": "bridge",/d}' -e '0,/"mtu": 4200,/{/"mtu": 4200,/d}' \
    -e '0,/"type": "tuning"/s//"type": "tuning", "promisc": true/' "$one" >"$work/two.yaml"
"$program" diff "$one" "$one" || failures=$((failures + 1))
expect 3 '^  ~ spec.config:plugins\[0\].master: "ens1f0np0" -> "eth1"' diff "$one" "$work/two.yaml"
expect 3 '^  ~ spec.config:plugins\[0\].mode: "bridge" -> "vepa"' diff "$one" "$work/two.yaml"
expect 3 '^  - spec.config:plugins\[0\].mtu: 4200' diff "$one" "$work/two.yaml"
expect 3 '^  + spec.config:plugins\[1\].promisc: true' diff "$one" "$work/two.yaml"
expect 3 '"change": "removed"' diff -o json "$one" "$work/two.yaml"
expect 3 '~ rdma\[mlx5_1\].netdevs\[0\]: "ens2f0np0" -> "ens3f0np0"' \
    diff nodes/roce-a.json nodes/roce-b.json
expect 3 '^  + (all of it): {"apiVersion"' diff "$clean" manifests
expect 2 'takes two files' diff "$wrong"
expect 2 'alias' diff "$wrong" cases/syntax-alias.yaml
expect 2 'No such file' diff missing.yaml "$wrong"
expect 2 'no output format sarif; there are text, json and yaml' diff -o sarif "$wrong" "$clean"

# Schemas of all kinds.
expect 0 '^usage: shoal-cni schema' schema --help
expect 0 '^shoal.dev/v1alpha1/RdmaIntent$' schema
expect 0 '"title": "MPIJob"' schema kubeflow.org/v2beta1/MPIJob
expect 2 'did you mean RdmaIntent' schema RdmaIntend
expect 2 'no kind v2/Pod' schema v2/Pod
expect 2 'unexpected argument' schema Pod Job
expect 0 '"title": "RdmaIntent"' schema RdmaIntent
expect 0 '^title: RdmaIntent' schema -o yaml RdmaIntent
expect 2 'no output format text' schema -o text RdmaIntent
if python3 -c 'import jsonschema, yaml' 2>/dev/null; then
    "$program" schema RdmaIntent >"$work/schema.json"
    python3 schema_agrees.py "$work/schema.json" plans cases/intent-schema.yaml ||
        failures=$((failures + 1))
fi

# What we ship is clean, together and file by file.
examples=../../examples/k8s
expect 0 '^0 errors, 0 warnings, 2 notes in 13 documents' validate --strict "$examples"
for file in "$examples"/*.yaml; do
    expect 0 '^0 errors, 0 warnings' validate --strict "$file"
done

# The generated ones are those that the program writes.
"$program" generate -i "$examples/intent.yaml" | cmp - "$examples/networks.yaml" ||
    failures=$((failures + 1))
for file in "$examples"/*-tcp.yaml; do
    "$program" patch -i "$examples/intent.yaml" "$file" 2>/dev/null |
        cmp - "${file/-tcp/-rdma}" || failures=$((failures + 1))
done
[ "$(grep '^USER' "$examples/Dockerfile" | tail -n 1)" = 'USER 1000' ] || failures=$((failures + 1))

# The attachment of tutorials, as it is copied: no file, no object around it.
seed='{"cniVersion":"0.3.1","type":"ipoib","master":"eth0","mode":"datagram"}'
for rule in ipoib-master ipoib-inherited no-ipam cni-name carries-no-rdma; do
    printf '%s' "$seed" | "$program" validate - >"$work/out" && failures=$((failures + 1))
    grep -q "\[$rule\]" "$work/out" || { echo "$rule was not found" && failures=$((failures + 1)); }
done

# Hostile input is refused within bounds of time and memory, by every command that reads.
expect_refused() { # pattern argument...
    local pattern=$1 got=0
    shift
    (ulimit -t 20 && exec "$program" "$@") >"$work/out" 2>&1 || got=$?
    if [ "$got" != 2 ] || ! grep -q -e "$pattern" "$work/out"; then
        complain "shoal-cni $*: status $got without '$pattern': $(head -c 300 "$work/out")"
    fi
}
{ printf 'a: &a [x]\n' && printf 'b: [*a, *a, *a]\n'; } >"$work/anchors.yaml"
printf '%*s' 100000 '' | tr ' ' '[' >"$work/deep.yaml"
cp "$work/deep.yaml" "$work/deep.json"
truncate -s 100M "$work/large.yaml"
for command in validate patch "plan -i" "generate -i" "diff $clean"; do
    # shellcheck disable=SC2086 # several words
    {
        expect_refused 'alias' $command "$work/anchors.yaml"
        expect_refused 'deeper than 64' $command "$work/deep.yaml"
        expect_refused 'files may have 16 MiB' $command "$work/large.yaml"
    }
done
expect_refused 'deeper than 64' validate "$work/deep.json"
expect_refused 'files may have 16 MiB' validate /dev/zero
[ "$failures" = 0 ]
