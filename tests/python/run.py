#!/usr/bin/env python3
"""Run one test file of the Python package, as one process or as ranks of a job.

Usage: run.py --build FOLDER [--ranks N] [--needs MODULE]... FILE [ARGUMENT]...

The package comes from the source tree, the library and the program `shoal` from the build. Exit
status 77, and a last line that says why, when a needed module is missing.

SPDX-License-Identifier: Apache-2.0
"""

import argparse
import importlib
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--ranks", type=int)
    parser.add_argument("--needs", action="append", default=[])
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    for module in given.needs:
        try:
            importlib.import_module(module)
        except ImportError as error:
            package = {"ensurepip": "venv"}.get(module, module)
            print(f"skipped: {error}; on Debian: apt-get install python3-{package}")
            sys.exit(77)
    build = given.build.resolve()
    # The source file of a setting wins over a build tree next to the package.
    os.environ["SHOAL_LIBRARY"] = str(build / "src" / "libshoal.so")
    os.environ["SHOAL_TEST_BUILD"] = str(build)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "python"), str(ROOT / "tests/python")])
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # A test that hangs fails by its own deadline, with a text, before ctest kills it.
    os.environ.setdefault("SHOAL_TIMEOUT_MS", "30000")
    command = [sys.executable, *given.command]
    if given.ranks:
        launcher = str(build / "tools" / "shoal")
        command = [launcher, "run", "-n", str(given.ranks), "--", *command]
    sys.stdout.flush()
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
