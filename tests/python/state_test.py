"""World.state() with real workers: who joins has the arrays, and divergence is found.

Without arguments this is the test; `state_test.py worker FOLDER` is a worker that `shoal run`
starts.

SPDX-License-Identifier: Apache-2.0
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

import numpy
import shoal

STEPS = 40
FAIL_AT = 15


def train(world, folder, weights, count):
    """Until a worker that was started again has taken part; the one of rank 1 is killed first."""
    while True:
        with world.step() as step:
            if step.number > FAIL_AT and step.joined:
                (folder / "joined").touch()
            if step.number == FAIL_AT and step.rank == 1 and not (folder / "killed").exists():
                (folder / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            ends = numpy.array([float((folder / "joined").exists() and step.number >= STEPS)])
            one = numpy.ones(1)
            world.allreduce(ends, op="min")
            world.allreduce(one)
        if step.committed:
            weights += one[0]
            count += 1
            if ends[0] == 1:
                return


def work(folder):
    world = shoal.World(timeout=30)
    weights = numpy.full(200000, float(world.rank))
    count = numpy.zeros(1, "int64")
    state = world.state({"weights": weights})
    state.add("count", count)
    train(world, folder, weights, count)
    alike = state.verify()
    if world.rank == 0:
        weights[7] += 1
    diverged = state.verify()
    try:
        state.add("late", count)
        refused = False
    except shoal.InvalidArgument:
        refused = True
    seen = {
        "alike": alike,
        "diverged": diverged,
        "refused": refused,
        "count": int(count[0]),
        "step": world.view.step,
        "weight": float(weights[0]),
        "settled": state.info.settled,
        "received": state.info.bytes_received,
    }
    state.close()
    world.close()
    (folder / f"worker-{os.getpid()}.json").write_text(json.dumps(seen), encoding="ascii")


class Jobs(unittest.TestCase):
    def test_one_is_killed_and_gets_the_state_when_it_comes_back(self):
        program = pathlib.Path(os.environ["SHOAL_TEST_BUILD"]) / "tools" / "shoal"
        with tempfile.TemporaryDirectory() as folder:
            command = [str(program), "run", "-n", "3", "--min", "1", "--start", "3"]
            command += ["--backoff", "0.1", "--timeout", "90", "--", sys.executable, __file__]
            done = subprocess.run(
                [*command, "worker", folder],
                check=False,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            self.assertEqual(done.returncode, 0, done.stdout)
            paths = sorted(pathlib.Path(folder).glob("worker-*.json"))
            seen = [json.loads(path.read_text(encoding="ascii")) for path in paths]
        self.assertEqual(len(seen), 3)
        for worker in seen:
            self.assertEqual(worker["alike"], [])
            self.assertEqual(len(worker["diverged"]), 1)
            self.assertEqual(worker["diverged"][0][0], "weights")
            self.assertTrue(worker["refused"])
            self.assertEqual(worker["count"], worker["step"])
            self.assertEqual(worker["diverged"], seen[0]["diverged"])
        self.assertEqual(len({worker["weight"] for worker in seen}), 1)
        self.assertEqual(sorted(worker["settled"] for worker in seen), [1, 2, 2])
        self.assertEqual(sorted(worker["received"] for worker in seen), [0, 0, 200001 * 8])


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        work(pathlib.Path(sys.argv[2]))
    else:
        unittest.main()
