"""The wheel: built from the tree, installed into a fresh environment, used by two processes.

Builds with pip, which fetches scikit-build-core; where that cannot be, exit status 77 and a last
line that says so. SHOAL_TEST_WHEEL names a wheel that is built already.

SPDX-License-Identifier: Apache-2.0
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile

import shoal

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = """
import array, shoal
assert shoal._ffi.lib._name.endswith("site-packages/shoal/libshoal.so.0"), shoal._ffi.lib._name
with shoal.init() as comm:
    print("sum", comm.allreduce(array.array("d", [comm.rank + 1.0])).tolist())
"""
wheel: pathlib.Path


def clean_environment():
    """Without what points to the tree."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONPATH" and not k.startswith("SHOAL_")}


def run(*command, **options):
    return subprocess.run(
        [str(word) for word in command],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **options,
    )


def can_fetch(folder):
    return run(
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        folder,
        "--disable-pip-version-check",
        "scikit-build-core",
    )


def build(folder):
    """Build it out of a copy, so that the tree stays as it is."""
    source = folder / "source"
    kept = shutil.ignore_patterns("build", "build-*", ".git", ".venv", "__pycache__")
    shutil.copytree(ROOT, source, ignore=kept)
    done = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, source)
    if done.returncode != 0:
        raise SystemExit(f"the wheel could not be built:\n{done.stdout[-8000:]}")
    return next(folder.glob("shoal-*.whl"))


class WheelTest(unittest.TestCase):
    def test_one_wheel_for_every_python(self):
        name = wheel.name.split("-")
        self.assertEqual(name[:4], ["shoal", shoal.__version__, "py3", "none"])
        self.assertTrue(name[4].startswith(("linux_", "manylinux_")))

    def test_what_it_carries(self):
        with zipfile.ZipFile(wheel) as archive:
            names = set(archive.namelist())
        python = ROOT / "python"
        sources = {str(file.relative_to(python)) for file in python.glob("shoal/**/*.py")}
        sources |= {"shoal/py.typed", "shoal/libshoal.so.0"}
        self.assertEqual({name for name in names if name.startswith("shoal/")}, sources)
        self.assertTrue(any(name.endswith(".data/scripts/shoal") for name in names))
        self.assertFalse([name for name in names if "tests" in name or name.endswith(".h")])

    def test_two_processes_in_a_fresh_environment(self):
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder, "venv")
            created = run(sys.executable, "-m", "venv", place)
            self.assertEqual(created.returncode, 0, created.stdout)
            python = place / "bin/python"
            installed = run(python, "-m", "pip", "install", "--no-index", wheel)
            self.assertEqual(installed.returncode, 0, installed.stdout)
            ran = run(
                place / "bin/shoal", "run", "-n", "2", "--", python, "-c", PROGRAM, cwd=folder
            )
            self.assertEqual(ran.returncode, 0, ran.stdout)
            self.assertEqual(ran.stdout.count("sum [3.0]"), 2, ran.stdout)


def main():
    global wheel
    with tempfile.TemporaryDirectory() as folder:
        given = os.environ.get("SHOAL_TEST_WHEEL")
        if given:
            wheel = pathlib.Path(given)
        else:
            fetched = can_fetch(folder)
            if fetched.returncode != 0:
                last = (fetched.stdout.strip().splitlines() or ["pip failed"])[-1]
                print(f"skipped: scikit-build-core cannot be fetched: {last}")
                sys.exit(77)
            wheel = build(pathlib.Path(folder))
        unittest.main()


if __name__ == "__main__":
    main()
