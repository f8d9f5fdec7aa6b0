# Building the trees that trees/*.txt describe; sourced.
#
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash

build_tree() { # description folder
    local line path
    while IFS= read -r line; do
        case $line in
        \#* | "") ;;
        *" -> "*)
            path=$2/${line%% -> *}
            mkdir -p "${path%/*}"
            ln -s "${line#* -> }" "$path"
            ;;
        *)
            path=$2/${line%% =*}
            mkdir -p "${path%/*}"
            line=${line#*=}
            printf '%b\n' "${line# }" >"$path"
            ;;
        esac
    done <"$1"
}
