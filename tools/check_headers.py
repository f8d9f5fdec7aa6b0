#!/usr/bin/env python3
"""Every public header compiles by itself, as strict C11 and as C++, without a warning.

Usage: check_headers.py --include FOLDER...

SPDX-License-Identifier: Apache-2.0
"""

import argparse
import pathlib
import shutil
import subprocess
import sys

LANGUAGES = (
    ("gcc", ["-x", "c", "-std=c11"]),
    ("clang", ["-x", "c", "-std=c11"]),
    ("g++", ["-x", "c++", "-std=c++11"]),
)
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wundef", "-Werror", "-fsyntax-only"]


def public_headers(folders):
    """Names as a user includes them, e.g. shoal/comm.h."""
    return sorted(
        str(path.relative_to(folder))
        for folder in folders
        for path in pathlib.Path(folder).rglob("*.h")
    )


def compile_alone(compiler, flags, folders, header):
    """Compile one header twice in one unit (its guard must hold); the compiler's text, or ''."""
    source = f"#include <{header}>\n#include <{header}>\nextern int shoal_unit_is_not_empty;\n"
    includes = [f"-I{folder}" for folder in folders]
    command = [compiler, *flags, *WARNINGS, *includes, "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"{header} ({compiler}):\n{done.stderr}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--include", action="append", required=True)
    folders = parser.parse_args().include
    headers = public_headers(folders)
    if not headers:
        sys.exit(f"no headers under {folders}")
    present = [(name, flags) for name, flags in LANGUAGES if shutil.which(name)]
    if not any("c++" in flags for _, flags in present):
        print("no C++ compiler (apt-get install g++)")
        sys.exit(77)
    failures = [
        text
        for header in headers
        for compiler, flags in present
        if (text := compile_alone(compiler, flags, folders, header))
    ]
    if failures:
        sys.exit("\n".join(failures))
    names = ", ".join(name for name, _ in present)
    print(f"{len(headers)} headers compile alone with {names}")


if __name__ == "__main__":
    main()
