"""Finding the library and joining a job: what is tried, what is said when it fails. One process.

SPDX-License-Identifier: Apache-2.0
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import shoal

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIBRARY = pathlib.Path(os.environ["SHOAL_LIBRARY"])


def run(code, **environment):
    """Run Python code; returns (exit status, output)."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SHOAL_")}
    given = {**kept, **{key: str(value) for key, value in environment.items()}}
    done = subprocess.run(
        [sys.executable, "-c", code], env=given, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def compile_library(folder, code):
    source, library = pathlib.Path(folder, "other.c"), pathlib.Path(folder, "libother.so")
    source.write_text(code, encoding="utf-8")
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    subprocess.run([compiler, "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    return library


class LoadingTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def copy_package(self):
        shutil.copytree(ROOT / "python/shoal", self.folder / "shoal")
        return self.folder

    def test_named_by_the_environment(self):
        code = "import shoal; print(shoal.library_version())"
        status, output = run(code, SHOAL_LIBRARY=LIBRARY, PYTHONPATH=ROOT / "python")
        self.assertEqual((status, output.strip()), (0, shoal.__version__))

    def test_named_wrongly(self):
        status, output = run(
            "import shoal", SHOAL_LIBRARY="/nowhere/libshoal.so", PYTHONPATH=ROOT / "python"
        )
        self.assertEqual(status, 1)
        self.assertIn("/nowhere/libshoal.so: no such file (from SHOAL_LIBRARY)", output)

    def test_in_the_folder_of_the_package(self):
        package = self.copy_package()
        shutil.copy(LIBRARY, package / "shoal/libshoal.so.0")
        status, output = run("import shoal; print(shoal._ffi.lib._name)", PYTHONPATH=package)
        self.assertEqual((status, output.strip()), (0, str(package / "shoal/libshoal.so.0")))

    def test_in_a_build_next_to_the_source(self):
        tree = self.folder / "tree"
        (tree / "include/shoal").mkdir(parents=True)
        (tree / "include/shoal/shoal.h").touch()
        (tree / "build-release/src").mkdir(parents=True)
        shutil.copytree(ROOT / "python/shoal", tree / "python/shoal")
        shutil.copy(LIBRARY, tree / "build-release/src/libshoal.so.0")
        status, output = run(
            "import shoal; print(shoal._ffi.lib._name)", PYTHONPATH=tree / "python"
        )
        self.assertEqual(status, 0, output)
        self.assertIn("build-release", output)

    def test_nowhere(self):
        package = self.copy_package()
        status, output = run("import shoal", PYTHONPATH=package)
        if status == 0:
            self.skipTest("the system has a libshoal.so.0 of its own")
        self.assertIn("ImportError", output)
        self.assertIn(f"{package}/shoal/libshoal.so.0: no such file", output)
        self.assertIn("the system's libraries", output)
        self.assertIn("SHOAL_LIBRARY", output)

    def test_another_version(self):
        library = compile_library(self.folder, "unsigned shoal_version(void) { return 7003000; }")
        status, output = run("import shoal", SHOAL_LIBRARY=library, PYTHONPATH=ROOT / "python")
        self.assertEqual(status, 1)
        self.assertIn(f"is version 7.3, the Python package is {shoal.__version__}", output)

    def test_another_library(self):
        library = compile_library(self.folder, "int nothing;")
        status, output = run("import shoal", SHOAL_LIBRARY=library, PYTHONPATH=ROOT / "python")
        self.assertEqual(status, 1)
        self.assertIn("another library", output)

    def test_no_library_at_all(self):
        other = self.folder / "text"
        other.write_text("no library" * 100)
        status, output = run("import shoal", SHOAL_LIBRARY=other, PYTHONPATH=ROOT / "python")
        self.assertEqual(status, 1)
        self.assertIn("invalid ELF header", output)


class JoiningTest(unittest.TestCase):
    def test_without_a_launcher(self):
        with shoal.init() as comm:
            self.assertEqual((comm.rank, comm.size), (0, 1))
            self.assertEqual(comm.allreduce(bytearray(b"abc")), b"abc")

    def test_with_a_timeout_of_its_own(self):
        with shoal.init(timeout=5, init_timeout=5, job="mine") as comm:
            comm.barrier()

    def test_absent_ranks_are_listed(self):
        with self.assertRaisesRegex(shoal.Absent, "1, 2|1-2|1 and 2"):
            shoal.init(0, 3, f"@shoal-absent-{os.getpid()}", init_timeout=3)

    def test_wrong_places(self):
        for arguments in (
            {"rank": 0},
            {"size": 2},
            {"rank": 2, "size": 2},
            {"rank": -1, "size": 2},
        ):
            with self.assertRaises(shoal.InvalidArgument):
                shoal.init(**arguments)
        with self.assertRaisesRegex(shoal.InvalidArgument, "rendezvous"):
            shoal.init(0, 2)
        with self.assertRaises(shoal.InvalidArgument):
            shoal.init(settings={}, context=shoal.Context())

    def test_half_an_environment(self):
        code = "import shoal; shoal.init()"
        paths = {"PYTHONPATH": ROOT / "python", "SHOAL_LIBRARY": LIBRARY}
        status, output = run(code, SHOAL_RANK="0", **paths)
        self.assertEqual(status, 1)
        self.assertIn("shoal.errors.ConfigError: SHOAL_RANK is set, but SHOAL_SIZE is not", output)
        status, output = run(code, SHOAL_TIMEOUT="5", **paths)
        self.assertEqual(status, 1)
        self.assertIn("SHOAL_TIMEOUT_MS", output)

    def test_a_launcher_is_followed_as_it_is(self):
        code = "import shoal; shoal.init(job='other')"
        paths = {"PYTHONPATH": ROOT / "python", "SHOAL_LIBRARY": LIBRARY}
        status, output = run(code, SHOAL_RANK="0", SHOAL_SIZE="1", **paths)
        self.assertEqual(status, 1)
        self.assertIn("job can only be given with rank and size", output)

    def test_the_end_of_the_interpreter(self):
        """Open communicators, unfinished requests and memory are no trouble at the end."""
        code = (
            "import shoal\n"
            "comm = shoal.init(); other = comm.split(0)\n"
            "memory = shoal.empty(10); request = comm.allreduce_async(memory)\n"
            "comm.me = comm; print('over')\n"
        )
        paths = {"PYTHONPATH": ROOT / "python", "SHOAL_LIBRARY": LIBRARY}
        self.assertEqual(run(code, **paths), (0, "over\n"))


if __name__ == "__main__":
    unittest.main()
