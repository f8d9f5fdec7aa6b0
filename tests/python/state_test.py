"""World.state() with real workers: who joins has the arrays, and divergence is found.

Without arguments this is the test; `state_test.py STORY FOLDER`, with the stories worker, learner
and shard, is a worker that `shoal run` starts.

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


def look_early(world):
    """What a worker that is not let in yet is told of its place; None: it is in."""
    told = set()
    for ask in ("rank", "size", "id", "broadcast"):
        try:
            asked = getattr(world, ask)
            if ask == "broadcast":
                asked(numpy.zeros(1))
            told.add(None)
        except shoal.InvalidArgument as error:
            told.add(str(error))
    return told.pop() if len(told) == 1 else "not the same for all"


def work(folder, catch_up=False):
    world = shoal.World(timeout=30, catch_up=catch_up)
    told = look_early(world) if world.view.size == 0 else None
    weights = numpy.full(200000, -1.0 if told else float(world.rank))
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
        "told": told,
        "in": world.members[world.rank] == world.id,
    }
    state.close()
    world.close()
    (folder / f"worker-{os.getpid()}.json").write_text(json.dumps(seen), encoding="ascii")


def await_loss(world, step):
    """Without a call, so that nothing of the step is under way when the others hear of it."""
    end = time.monotonic() + 30
    while world.epoch == step.epoch and time.monotonic() < end:
        time.sleep(0.001)


def begin_within(world):
    """A step within a step is refused, and leaves the open one as it is."""
    try:
        world.step().__enter__()
    except shoal.InvalidArgument:
        return True
    return False


def use_again(world):
    """A world may have another state when the first is closed. Was it kept over a step?"""
    right = True
    for background in (False, True):
        array = numpy.full(1000, -1.0)
        state = world.state(shards=8, background=background)
        state.add("again", array, sharded=True)
        for number in range(2):
            with world.step():
                for part in state.owned("again"):
                    array[part] = number
        state.flush()
        state.gather("again")
        right &= bool((array == 1).all()) and state.info.step_seconds > 0
        state.close()
    return right


def shard(folder):
    """Owners count in their parts; one worker is killed, and what it owned goes on."""
    world = shoal.World(step_mode=shoal.StepMode.ABORT, timeout=30)
    array = numpy.zeros(100000)
    state = world.state(shards=64)
    state.add("sums", array, sharded=True)
    retries, refused = 0, True
    while True:
        with world.step() as step:
            if step.number == FAIL_AT and not retries and not step.joined:
                if step.rank == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
                await_loss(world, step)
            if step.number > FAIL_AT and step.joined:
                (folder / "joined").touch()
            ends = numpy.array([float((folder / "joined").exists() and step.number >= STEPS)])
            world.allreduce(ends, op="min")
            for part in state.owned("sums"):
                array[part] += 1
            if step.number == STEPS - 1:
                refused = begin_within(world)
        retries += not step.committed
        if step.committed and ends[0] == 1:
            break
    elements = sum(part.stop - part.start for part in state.owned("sums"))
    state.gather("sums")
    steps = world.view.step
    seen = {
        "elements": elements,
        "right": bool((array == steps).all()),
        "lost": state.lost,
        "retries": retries,
        "refreshed": state.info.refresh_bytes,
    }
    state.close()
    seen["again"] = use_again(world) and refused
    world.close()
    (folder / f"worker-{os.getpid()}.json").write_text(json.dumps(seen), encoding="ascii")


def run_job(story):
    program = pathlib.Path(os.environ["SHOAL_TEST_BUILD"]) / "tools" / "shoal"
    with tempfile.TemporaryDirectory() as folder:
        command = [str(program), "run", "-n", "3", "--min", "1", "--start", "3"]
        command += ["--backoff", "0.1", "--timeout", "90", "--", sys.executable, __file__]
        done = subprocess.run(
            [*command, story, folder],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != 0:
            raise AssertionError(done.stdout)
        paths = sorted(pathlib.Path(folder).glob("worker-*.json"))
        return [json.loads(path.read_text(encoding="ascii")) for path in paths]


class Jobs(unittest.TestCase):
    def test_what_a_killed_worker_owned_goes_on(self):
        seen = run_job("shard")
        self.assertEqual(len(seen), 3)
        self.assertEqual(sum(worker["elements"] for worker in seen), 100000)
        for worker in seen:
            self.assertTrue(worker["right"])
            self.assertTrue(worker["again"])
            self.assertEqual(worker["lost"], [])
            self.assertEqual(worker["refreshed"], worker["elements"] * 8)
        self.assertEqual(sorted(worker["retries"] for worker in seen), [0, 1, 1])

    def test_one_is_killed_and_gets_the_state_when_it_comes_back(self):
        seen = run_job("worker")
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
        self.assertEqual([worker["told"] for worker in seen], [None] * 3)

    def test_a_learner_is_told_that_it_has_no_rank(self):
        told = [worker["told"] for worker in run_job("learner") if worker["in"]]
        self.assertEqual(len(told), 3)
        learners = [text for text in told if text]
        self.assertEqual(len(learners), 1)
        self.assertIn("is not let in yet", learners[0])
        self.assertIn("first step", learners[0])


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        work(pathlib.Path(sys.argv[2]))
    elif sys.argv[1:2] == ["learner"]:
        work(pathlib.Path(sys.argv[2]), catch_up=True)
    elif sys.argv[1:2] == ["shard"]:
        shard(pathlib.Path(sys.argv[2]))
    else:
        unittest.main()
