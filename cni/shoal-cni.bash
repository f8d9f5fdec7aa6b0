# Completion of shoal-cni for bash; zsh takes it after `autoload bashcompinit; bashcompinit`.
#
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash

_shoal_cni_options() { # command
    case $1 in
    inspect) echo "--capture --sysfs-root --hwloc-xml --output --quiet --color --help" ;;
    plan | generate) echo "--intent --node --output --quiet --color --help" ;;
    patch) echo "--intent --node --file --quiet --color --help" ;;
    validate) echo "--file --node --output --quiet --strict --color --help" ;;
    doctor)
        echo "--pod --node --probe --peer --sysfs-root --output --json --quiet --strict" \
            "--color --help"
        ;;
    diff | explain | schema) echo "--output --quiet --color --help" ;;
    *)
        echo "inspect plan generate patch validate doctor explain diff schema --help --version"
        ;;
    esac
}

# Values of an option; nothing: a file.
_shoal_cni_values() { # command option
    case $2 in
    -o | --output)
        case $1 in
        generate | inspect | schema) echo "yaml json" ;;
        validate) echo "text json yaml sarif" ;;
        *) echo "text json yaml" ;;
        esac
        ;;
    --color) echo "auto always never" ;;
    esac
}

_shoal_cni() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local command="" words
    [ "$COMP_CWORD" -gt 1 ] && command=${COMP_WORDS[1]}
    words=$(_shoal_cni_values "$command" "$before")
    if [ -z "$words" ]; then
        case $command in
        explain) words=$(shoal-cni explain 2>/dev/null | cut -d ' ' -f 1) ;;
        schema) words=$(shoal-cni schema 2>/dev/null | sed 's|.*/||' | sort -u) ;;
        esac
        if [ -z "$command" ] || [[ $word == -* ]]; then
            words="$words $(_shoal_cni_options "$command")"
        fi
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -o default -F _shoal_cni shoal-cni
