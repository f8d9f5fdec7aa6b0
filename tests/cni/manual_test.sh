#!/usr/bin/env bash
# Help, manual, completion and the option tables of shoal-cni tell the same commands and options;
# and the path of docs/cni.md from a node to a validated, patched job is three commands.
#
# Usage: manual_test.sh PROGRAM
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
program=$1
cd "$(dirname "$0")"
# shellcheck source=tests/cni/lib.sh
. ./lib.sh

# shellcheck source=cni/shoal-cni.bash
. ../../cni/shoal-cni.bash
manual=$(sed 's/\\-/-/g' ../../cni/shoal-cni.1)
described=$(sed -n '/^\.SH OPTIONS/,/^\.SH EXIT/{/^\.TP/{n;p}}' <<<"$manual")
commands=$("$program" --help | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p')
[ "$(echo "$commands" | wc -l)" = 9 ] || complain "the commands are: $commands"
for command in $commands; do
    grep -q "^\.B.*\b$command\b" <<<"$manual" || complain "the manual has no $command"
    grep -qw "$command" <<<"$(_shoal_cni_options "")" || complain "no completion of $command"
    options=$("$program" "$command" --help | grep -o '^ .*--[a-z][-a-z]*' | grep -o -- '--.*')
    for option in $options; do
        grep -qe "$option\b" <<<"$described" || complain "the manual has no $option of $command"
        grep -qwe "$option" <<<"$(_shoal_cni_options "$command")" ||
            complain "no completion of $command $option"
    done
    for option in $(_shoal_cni_options "$command"); do
        grep -qwe "$option" <<<"$options" || complain "$command has no $option"
    done
done

# Variables, those of the library too that doctor heeds.
environment=$(sed -n '/^\.SH ENVIRONMENT/,/^\.SH SEE/p' <<<"$manual")
heeded=$(grep -oh 'SHOAL_IB_[A-Z_]*' ../../docs/cni.md ../../cni/doctor*.c | sort -u)
for variable in NO_COLOR $heeded; do
    grep -qw "$variable" <<<"$environment" || complain "the manual has no variable $variable"
done

# The tables that the program parses its options by: nothing that the help leaves out.
declare -A told accepted
for command in $commands; do
    case $command in
    plan | generate | patch) source=intent ;;
    *) source=$command ;;
    esac
    told[$source]+=" $("$program" "$command" --help | grep -o -- '--[a-z][-a-z]*' | sort -u)"
    tables=("../../cni/command_$source.c")
    ! grep -q cni_options_parse "${tables[0]}" || tables+=(../../cni/command_options.c)
    accepted[$source]=$(grep -oh '{"[a-z-]*", *[a-z]*_argument' "${tables[@]}" |
        sed 's/{"\([a-z-]*\)".*/--\1/')
done
for source in "${!accepted[@]}"; do
    [ -n "${accepted[$source]}" ] || complain "command_$source.c has no option table"
    for option in ${accepted[$source]}; do
        grep -qwe "$option" <<<"${told[$source]}" || complain "no help of $source tells $option"
    done
    for option in ${told[$source]}; do
        grep -qwe "$option" <<<"${accepted[$source]}" || complain "$source does not take $option"
    done
done

completed() { # word...: what completion makes of the last
    COMP_WORDS=("$@")
    COMP_CWORD=$(($# - 1))
    _shoal_cni
    echo "${COMPREPLY[*]}"
}
[ "$(completed shoal-cni pl)" = plan ] || complain "pl: $(completed shoal-cni pl)"
[ "$(completed shoal-cni validate -o s)" = sarif ] || complain "validate -o s"
[ "$(completed shoal-cni plan --int)" = --intent ] || complain "plan --int"

# The three commands of the documentation, as they stand there, in an empty folder.
sed -n '/^## Three commands/,/^## /p' ../../docs/cni.md | sed -n 's/^shoal-cni/shoal_cni/p' \
    >"$work/commands"
[ "$(wc -l <"$work/commands")" = 3 ] || complain "docs/cni.md has not three commands"
shoal_cni() {
    if [ "$1" = inspect ]; then # on a node that has devices
        cat "$here/nodes/roce-plain.json"
    else
        "$program" "$@"
    fi
}
here=$PWD
# Jobs have namespaces of their own, which no inventory knows.
sed 's/^  name: digits$/&\n  namespace: research/' \
    ../../examples/k8s/pytorchjob-tcp.yaml >"$work/job.yaml"
cd "$work"
. ./commands || complain "the three commands end with $?"
for part in 'rdma/rail1: 1' 'networks: "default/rail0, default/rail1"' 'IPC_LOCK' \
    'medium: Memory'; do
    grep -q -- "$part" job-rdma.yaml || complain "the job has no $part"
done
"$program" validate --strict -q -n node.json networks.yaml job-rdma.yaml >report ||
    complain "$(cat report)"
! grep -q 'attachment-unknown' report ||
    complain "the job does not find its networks: $(cat report)"
[ "$failures" = 0 ]
