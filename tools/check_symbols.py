#!/usr/bin/env python3
"""The shared library exports exactly the functions that the public headers mark SHOAL_API.

Usage: check_symbols.py LIBRARY INCLUDE_FOLDER...

SPDX-License-Identifier: Apache-2.0
"""

import pathlib
import re
import subprocess
import sys

COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
DIRECTIVE = re.compile(r"^[ \t]*#.*?(?<!\\)$", re.MULTILINE | re.DOTALL)
DECLARATION = re.compile(r"\bSHOAL_API\b[^;{]*?\b(shoal_\w+)\s*\(")


def declared(text):
    """Names that a header declares with SHOAL_API."""
    return set(DECLARATION.findall(DIRECTIVE.sub("", COMMENT.sub("", text))))


def exported(nm_output):
    """Names of defined dynamic symbols; version nodes (type A) are no symbols of their own."""
    names = set()
    for line in nm_output.splitlines():
        _, kind, name = line.split()[-3:]
        if kind != "A":
            names.add(name.split("@")[0])
    return names


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    library, folders = sys.argv[1], sys.argv[2:]
    wanted = set()
    for folder in folders:
        for header in pathlib.Path(folder).rglob("*.h"):
            wanted |= declared(header.read_text(encoding="utf-8"))
    command = ["nm", "--dynamic", "--defined-only", library]
    found = exported(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    problems = [f"exported, but not declared SHOAL_API: {name}" for name in sorted(found - wanted)]
    problems += [f"declared SHOAL_API, but not exported: {name}" for name in sorted(wanted - found)]
    if problems:
        sys.exit("\n".join(problems))
    print(f"{len(found)} functions declared and exported")


if __name__ == "__main__":
    main()
