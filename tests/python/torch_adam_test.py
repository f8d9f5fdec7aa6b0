"""examples/sharded_adam_elastic_torch.py with workers that are killed: two of three, one after the
other, each of which comes back. All end with what one undisturbed worker comes to.

SPDX-License-Identifier: Apache-2.0
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORKERS = 3
PATIENCE_SECONDS = 120


class Job:
    """The workers, and what they say."""

    def __init__(self, until):
        program = pathlib.Path(os.environ["SHOAL_TEST_BUILD"]) / "tools" / "shoal"
        command = [program, "run", "-n", WORKERS, "--min", 1, "--start", WORKERS]
        command += ["--backoff", 0.1, "--no-prefix", "--timeout", PATIENCE_SECONDS, "--"]
        command += [sys.executable, ROOT / "examples" / "sharded_adam_elastic_torch.py"]
        command += ["--steps", 100, "--until", until]
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.workers = []  # processes, as they began
        self.ends = {}
        self.step = self.size = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()  # unless it has ended
        self.process.stdout.close()
        self.process.wait(PATIENCE_SECONDS)

    def hear(self):
        """False when all is said."""
        line = self.process.stdout.readline()
        if not line.startswith("{"):
            return line != ""
        told = json.loads(line)
        if "began" in told:
            self.workers.append(told["began"])
        elif "done" in told:
            self.ends[told["done"]] = told
        else:
            self.step, self.size = told["step"], told["size"]
        return True

    def await_steps(self, more, size):
        """So many, with so many workers in the end."""
        end, enough = time.monotonic() + PATIENCE_SECONDS, self.step + more
        while self.step < enough or self.size != size:
            if not self.hear() or time.monotonic() > end:
                raise AssertionError(f"step {self.step} of {self.size} workers, not {size}")


class Adam(unittest.TestCase):
    def kill_two(self, job):
        """Each when the one before it has come back."""
        killed = []
        for victim in (1, 0):
            job.await_steps(40, WORKERS)
            killed.append(job.workers[victim])
            os.kill(killed[-1], signal.SIGKILL)
            job.await_steps(0, WORKERS - 1)
        job.await_steps(40, WORKERS)
        return killed

    def test_as_one_undisturbed_worker(self):
        with tempfile.TemporaryDirectory() as folder:
            until = pathlib.Path(folder) / "until"
            with Job(until) as job:
                killed = self.kill_two(job)
                until.touch()
                while job.hear():
                    pass
                self.assertEqual(job.process.wait(PATIENCE_SECONDS), 0)
        self.assertEqual(set(job.ends), set(job.workers) - set(killed))
        self.assertEqual(len(job.ends), WORKERS)
        for told in job.ends.values():
            self.assertLess(told["apart"], 1e-9)
            self.assertEqual(told["wrong"], 0)
            self.assertEqual(told["steps"], next(iter(job.ends.values()))["steps"])


if __name__ == "__main__":
    unittest.main()
