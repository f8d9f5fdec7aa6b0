"""shoal.World with real workers that are killed, started again, and leave.

Without arguments this is the test; `world_test.py worker FOLDER STORY` is a worker that `shoal run`
starts. Workers write what they saw into FOLDER.

SPDX-License-Identifier: Apache-2.0
"""

import collections
import gc
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import weakref

import numpy
import shoal

STEPS = 60
FAIL_AT = 20
SIZE = 500
SAMPLES, BATCH = 97, 10


class Worker:
    """Counts in `weights` what members contributed: weights tell the whole history."""

    def __init__(self, folder, story):
        self.folder, self.story = pathlib.Path(folder), story
        self.saw, self.retries, self.contributors = [], 0, []
        mode = shoal.StepMode.ABORT if story == "abort" else shoal.StepMode.RETAIN
        self.world = shoal.World(step_mode=mode, timeout=20)
        self.weights = numpy.zeros(SIZE)
        self.samples = self.world.samples(SAMPLES, batch=BATCH, seed=3)
        # What is read is written down before it may count, for whoever does not live to tell.
        self.reads = open(self.folder / f"reads-{self.world.id}", "w", encoding="ascii")

    def once(self, name):
        """True for the first of all workers that asks."""
        try:
            (self.folder / name).mkdir()
        except FileExistsError:
            return False
        return True

    def fail_now(self, step):
        if self.story in ("kill", "abort") and step.number == FAIL_AT and step.rank == 1:
            if self.once("killed"):
                os.kill(os.getpid(), signal.SIGKILL)
        if self.story == "leave" and step.number == FAIL_AT and step.rank == 0:
            if self.once("left"):
                self.world.leave()

    def gone_on(self, view):
        """Long enough for whoever was started again to take part."""
        newcomers = self.story == "leave" or (self.folder / "joined").exists()
        return newcomers and view.step >= STEPS

    def step(self):
        with self.world.step() as step:
            if step.joined:
                self.world.broadcast(self.weights)
                if step.number > FAIL_AT:
                    self.once("joined")
            ends = numpy.array([float(self.gone_on(self.world.view))])
            self.world.allreduce_async(ends, op="min")  # done at the end of the step
            gradient = numpy.full(SIZE, float(step.rank + 1))
            share = self.samples.take()
            line = [step.number, share.data_epoch, share.indices.tolist()]
            print(json.dumps(line), file=self.reads, flush=True)
            self.fail_now(step)
            self.world.mean(gradient, weight=step.rank + 1)
            step.samples = step.rank + 1
        if not step.committed:
            self.retries += 1
            return False
        self.weights += gradient
        seen = (step.number, self.world.last.contributors, float(gradient[0]), step.samples)
        self.saw.append(seen)
        self.contributors.append(self.world.contributors)
        return ends[0] == 1

    def run(self):
        left = False
        try:
            while not self.step():
                pass
        except shoal.EpochChanged:
            left = self.world.view.left
        view = self.world.view
        seen = {
            "saw": self.saw,
            "contributors": self.contributors,
            "consumed": self.samples.info().consumed,
            "data_epoch": self.samples.data_epoch,
            "retries": self.retries,
            "left": left,
            "weights": float(self.weights.sum()),
            "even": bool((self.weights == self.weights[0]).all()),
            "step": view.step,
            "position": view.position,
            "members": len(self.world.members),
        }
        self.world.close()
        path = self.folder / f"worker-{os.getpid()}.json"
        path.write_text(json.dumps(seen), encoding="ascii")


def leave_by_an_error(folder):
    """An error of the program's own ends a step's block, and what the step used is not kept."""
    world = shoal.World()
    array = numpy.ones(SIZE)
    alive = weakref.ref(array)
    caught = False
    try:
        with world.step() as step:
            world.allreduce(array)
            raise KeyError
    except KeyError:
        caught = not step.committed
    del array
    gc.collect()
    kept = alive() is not None
    world.close()
    gc.collect()
    path = pathlib.Path(folder) / "worker-0.json"
    path.write_text(json.dumps([caught, kept, alive() is None]), encoding="ascii")


def fail_sometimes(folder):
    """A worker whose step fails ends it for all, and all go on."""
    world = shoal.World(timeout=30)
    saw, retries, failed = [], 0, set()
    while world.view.step < STEPS:
        try:
            with world.step() as step:
                total = world.allreduce(numpy.ones(SIZE))
                if step.number % 10 == 3 * step.rank and step.number not in failed:
                    failed.add(step.number)
                    if step.rank:
                        raise KeyError(step.number)
                    raise shoal.StepRetry("the input of this step is broken")
                world.allreduce(total)
                step.samples = 1
        except KeyError:
            assert not step.committed
        if step.committed:
            saw.append([step.number, float(total[0])])
        else:
            retries += 1
    world.close()
    path = pathlib.Path(folder) / f"worker-{os.getpid()}.json"
    path.write_text(json.dumps([saw, retries]), encoding="ascii")


def fly(folder):
    """Operations in flight, and a reduction of the program's own."""
    world = shoal.World(timeout=20)

    def either(a, b, out, _dtype):
        numpy.asarray(out)[:] = numpy.bitwise_or(numpy.asarray(a), numpy.asarray(b))

    def fail(_a, _b, _out, _dtype):
        raise KeyError("reduction")

    both, broken = world.create_op(either), world.create_op(fail)
    mine = numpy.array([1 << world.rank], dtype="int64")
    got = numpy.zeros((4, 1), dtype="int64")
    requests = [world.allreduce_async(mine, got[i], op=both) for i in range(4)]
    requests.append(world.barrier_async())
    seen = [requests[3].wait(), all(request.wait() for request in requests), got.tolist()]
    rooted = numpy.zeros(2)
    try:
        world.broadcast_async(rooted)
    except shoal.Unsupported:
        seen.append("only in steps")
    with world.step() as step:
        world.broadcast_async(mine, root=1)
        gathered = numpy.zeros(2, dtype="int64")
        request = world.allgather_async(mine, gathered)
        mean = world.mean_async(numpy.full(3, float(step.rank)), numpy.zeros(3), weight=1)
    seen += [step.committed, request.wait(), gathered.tolist(), mean.result.tolist()]
    try:
        world.allreduce(mine, numpy.zeros_like(mine), op=broken)
    except KeyError:
        seen.append("raised")
    alone = world.size == 2 and world.rank == 0
    late = world.allreduce_async(mine) if alone else None  # nobody else calls it
    closed = pathlib.Path(folder) / "closed"
    end = time.monotonic() + 20
    while world.size == 2 and world.rank == 1 and not closed.exists() and time.monotonic() < end:
        time.sleep(0.01)  # a member that left would not keep it waiting
    world.close()
    closed.touch()
    if late is not None:
        try:
            late.wait()
        except shoal.Aborted:
            seen.append("aborted")
    path = pathlib.Path(folder) / f"worker-{os.getpid()}.json"
    path.write_text(json.dumps(seen), encoding="ascii")


class Interrupted(Exception):
    """What the handler of a signal raises."""


def leave_a_join(folder):
    """A join is left by a signal; what it comes to in the end is no member that never calls."""

    def on_alarm(*_):
        raise Interrupted

    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    interrupted = False
    try:
        shoal.World(start=2, least=1)
    except Interrupted:
        interrupted = True
    world = shoal.World(start=2, least=1, timeout=5)  # with which the first one is complete
    world.barrier()
    ended = world.size
    world.close()
    path = pathlib.Path(folder) / "worker-0.json"
    path.write_text(json.dumps([interrupted, ended]), encoding="ascii")


READS = {}  # by member and step, of the last job: data epoch and samples


def run_job(story, workers):
    READS.clear()
    program = pathlib.Path(os.environ["SHOAL_TEST_BUILD"]) / "tools" / "shoal"
    with tempfile.TemporaryDirectory() as folder:
        command = [str(program), "run", "-n", str(workers), "--min", "1", "--start", str(workers)]
        command += ["--backoff", "0.1", "--timeout", "90", "--", sys.executable, __file__]
        command += ["worker", folder, story]
        done = subprocess.run(
            command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        seen = [
            json.loads(path.read_text(encoding="ascii"))
            for path in sorted(pathlib.Path(folder).glob("worker-*.json"))
        ]
        for path in pathlib.Path(folder).glob("reads-*"):
            lines = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
            READS[int(path.name.split("-")[1])] = {line[0]: line[1:] for line in lines}
    if done.returncode != 0:
        raise AssertionError(f"{story}: exit status {done.returncode}\n{done.stdout}")
    return seen


class Jobs(unittest.TestCase):
    def check_history(self, seen):
        """Every step was committed once, by all alike, and its mean is that of its members."""
        steps, inputs = collections.defaultdict(set), collections.defaultdict(list)
        for worker in seen:
            self.assertTrue(worker["even"])
            numbers = [line[0] for line in worker["saw"]]
            self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))))
            for number, contributors, value, mine in worker["saw"]:
                steps[number].add((contributors, value))
                inputs[number].append(mine)
        samples = 0
        for number, outcomes in sorted(steps.items()):
            self.assertEqual(len(outcomes), 1, f"step {number}: {outcomes}")
            ((contributors, value),) = outcomes
            mine = inputs[number]
            if len(mine) < contributors:  # one of them was killed later, and told nobody
                mine = range(1, contributors + 1)
            self.assertEqual(len(mine), contributors)
            self.assertAlmostEqual(value, sum(x * x for x in mine) / sum(mine), places=12)
            samples += sum(mine)
        last = [worker for worker in seen if not worker["left"]]
        for worker in last:
            self.assertAlmostEqual(worker["weights"], last[0]["weights"], places=6)
            self.assertEqual((worker["step"], worker["position"]), (last[0]["step"], samples))
        self.check_samples(seen)
        return {contributors for outcomes in steps.values() for contributors, _ in outcomes}

    def check_samples(self, seen):
        """What the contributors of the committed steps read is each sample once a data epoch."""
        by_step = {}
        for worker in seen:
            for line, contributors in zip(worker["saw"], worker["contributors"]):
                self.assertEqual(by_step.setdefault(line[0], contributors), contributors)
        taken, data_epoch = [], 0
        for step, contributors in sorted(by_step.items()):
            for member in contributors:
                self.assertEqual(READS[member][step][0], data_epoch, f"step {step}")
                taken += READS[member][step][1]
            self.assertEqual(len(taken), len(set(taken)), f"step {step}: read twice")
            if len(taken) == SAMPLES:
                taken, data_epoch = [], data_epoch + 1
        self.assertGreater(data_epoch, 2)
        for worker in seen:
            if not worker["left"]:
                end = (worker["data_epoch"], worker["consumed"])
                self.assertEqual(end, (data_epoch, len(taken)))

    def test_one_is_killed_and_comes_back(self):
        seen = run_job("kill", 3)
        self.assertEqual(len(seen), 3)
        sizes = self.check_history(seen)
        self.assertIn(3, sizes)
        self.assertEqual([worker["retries"] for worker in seen], [0, 0, 0])

    def test_a_step_is_given_up_by_all_alike(self):
        seen = run_job("abort", 3)
        self.check_history(seen)
        self.assertEqual(sorted(worker["retries"] for worker in seen), [0, 1, 1])

    def test_one_leaves_and_nobody_notices(self):
        seen = run_job("leave", 3)
        self.assertEqual(self.check_history(seen), {2, 3})
        self.assertEqual(sorted(worker["left"] for worker in seen), [False, False, True])


    def test_operations_in_flight(self):
        common = [True, True, [[3]] * 4, "only in steps", True, True, [2, 2], [0.5] * 3, "raised"]
        seen = sorted(run_job("flight", 2), key=len)
        self.assertEqual(seen, [common, common + ["aborted"]])

    def test_a_step_that_was_given_up_uses_nothing(self):
        self.assertEqual(run_job("error", 1), [[True, False, True]])

    def test_an_exception_gives_a_step_up_on_all(self):
        for saw, retries in run_job("fail", 3):
            self.assertEqual(saw, [[number, 9.0] for number in range(STEPS)])
            self.assertGreaterEqual(retries, 3 * STEPS // 10)


    def test_a_join_that_was_left_is_no_member(self):
        self.assertEqual(run_job("interrupt", 1), [[True, 1]])


class Arguments(unittest.TestCase):
    def test_what_cannot_be(self):
        for given in ({"least": 0}, {"most": 1025}, {"start": -1}, {"timeout": -1.0}):
            with self.assertRaises(shoal.InvalidArgument):
                shoal.World("127.0.0.1:1", **given)
        with self.assertRaisesRegex(shoal.InvalidArgument, "SHOAL_JOIN"):
            shoal.World()
        with self.assertRaises(shoal.InvalidArgument):
            shoal.World("127.0.0.1:1", start=1, least=2)

    def test_a_store_that_is_not_there(self):
        with self.assertRaises(shoal.StoreError):
            shoal.World("127.0.0.1:1", join_timeout=1.5)


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"] and sys.argv[3] == "error":
        leave_by_an_error(sys.argv[2])
    elif sys.argv[1:2] == ["worker"] and sys.argv[3] == "flight":
        fly(sys.argv[2])
    elif sys.argv[1:2] == ["worker"] and sys.argv[3] == "fail":
        fail_sometimes(sys.argv[2])
    elif sys.argv[1:2] == ["worker"] and sys.argv[3] == "interrupt":
        leave_a_join(sys.argv[2])
    elif sys.argv[1:2] == ["worker"]:
        Worker(*sys.argv[2:]).run()
    else:
        unittest.main()
