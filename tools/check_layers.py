#!/usr/bin/env python3
"""Includes point in one direction only, and system interfaces stay where they belong.

    api -> elastic -> engine -> { collectives | transport | device | topology } -> control -> core

Headers named in braces never include each other, except that collectives may read the rank map.
One transport never includes another. bench/, examples/ and python/ see only the public headers.

SPDX-License-Identifier: Apache-2.0
"""

import pathlib
import re

import tree_check

# Distance from the caller; an include may only go to a larger number, or stay in its layer.
DEPTH = {
    "api": 0,
    "elastic": 1,
    "engine": 2,
    "collectives": 3,
    "transport": 3,
    "device": 3,
    "topology": 3,
    "control": 4,
    "core": 5,
}
SIBLING_EXCEPTIONS = {("collectives", "topology/rank_map.h")}

# System header (regular expression on its name) -> folders under src/ that may include it.
SYSTEM = (
    (
        r"sys/(socket|un)\.h|netinet/.*|arpa/.*|netdb\.h|ifaddrs\.h|net/.*"
        r"|linux/(sockios|tcp|if|if_.*|in6?|netlink|rtnetlink|errqueue)\.h",
        ("control", "transport/tcp"),
    ),
    (r"infiniband/.*|rdma/.*", ("transport/verbs",)),
    (r"cuda.*|driver_types\.h|nvml\.h", ("device",)),
    (r"hwloc.*", ("topology",)),
    (r"openssl/.*", ("control",)),
    (r"yaml\.h", ("core",)),
)

PUBLIC_ONLY = ("bench", "examples", "python")
# Programs that measure or bound an internal part by itself.
SEES_INTERNALS = (r"bench/reduce_bench\.c", r"bench/\w+_bound(_\w+)?\.[ch]")
CNI_LAYERS = ("topology", "core")
# `doctor --probe` tries devices with the transport's own try, which shows no type of libibverbs.
CNI_EXCEPTIONS = {("cni/doctor_probe.c", "transport/verbs/verbs_probe.h"),
                  ("cni/inventory_verbs.c", "transport/verbs/verbs_port.h")}
HEADER_INCLUDES = re.compile(r"shoal/\w+\.h|stddef\.h|stdint\.h|stdbool\.h")

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)


def includes(path):
    """(line number, '<' or '"', name) of each include directive."""
    text = path.read_text(encoding="utf-8")
    for match in INCLUDE.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, match.group(1), match.group(2)


def is_layer_path(name):
    return name.split("/")[0] in DEPTH and "/" in name


def check_direction(source, target):
    """`source` and `target` are paths under src/; the complaint, or None."""
    ours, theirs = source.split("/")[0], target.split("/")[0]
    if ours == theirs:
        return check_transports(source, target) if ours == "transport" else None
    if (ours, target) in SIBLING_EXCEPTIONS:
        return None
    if DEPTH[theirs] == DEPTH[ours]:
        return f"{ours} and {theirs} are siblings and may not include each other"
    if DEPTH[theirs] < DEPTH[ours]:
        return f"{ours} may not include {theirs}, which lies above it; use a callback"
    return None


def check_transports(source, target):
    """transport/tcp may see transport/*.h and itself, not transport/shm."""
    ours, theirs = source.split("/")[1:-1], target.split("/")[1:-1]
    if ours and theirs and ours != theirs:
        return f"transport {ours[0]} may not include transport {theirs[0]}"
    return None


def check_system(source, name):
    for pattern, folders in SYSTEM:
        if re.fullmatch(pattern, name) and not any(source.startswith(f + "/") for f in folders):
            return f"<{name}> belongs only in src/{' and src/'.join(folders)}"
    return None


def check_src(source, kind, name):
    if source.split("/")[0] not in DEPTH:
        return "no such layer; see DEPTH in tools/check_layers.py"
    if is_layer_path(name):
        return check_direction(source, name)
    if kind == '"' and ("/" in name or ".." in name):
        return f'"{name}" is neither a layer\'s header nor beside this file'
    return check_system(source, name)


def check_outside(path, name):
    """A file of bench/, examples/, python/ or cni/."""
    if not is_layer_path(name):
        return None
    folder, layer = path.split("/")[0], name.split("/")[0]
    if folder == "cni":
        if layer in CNI_LAYERS or (path, name) in CNI_EXCEPTIONS:
            return None
        return f"cni sees only {' and '.join(CNI_LAYERS)}"
    if any(re.fullmatch(pattern, path) for pattern in SEES_INTERNALS):
        return None
    return f"{folder}/ sees only the public headers"


def complaint(path, kind, name):
    """What is wrong with one include of the file at `path` (relative to the root), or None."""
    top = path.split("/")[0]
    if top == "src":
        return check_src(path[len("src/"):], kind, name)
    if top == "include":
        return None if HEADER_INCLUDES.fullmatch(name) else "a public header needs no more than C"
    return check_outside(path, name)


def check(root):
    problems = []
    for top in ("include", "src", "cni", *PUBLIC_ONLY):
        for file in sorted((root / top).rglob("*")):
            if file.suffix not in (".c", ".h", ".cu", ".in", ".def") or not file.is_file():
                continue
            path = file.relative_to(root).as_posix()
            for line, kind, name in includes(file):
                if what := complaint(path, kind, name):
                    problems.append(f"{path}:{line}: includes {name}: {what}")
    return problems


if __name__ == "__main__":
    tree_check.main(__doc__, check, lambda _: "every include points in an allowed direction")
