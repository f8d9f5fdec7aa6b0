"""Train on handwritten digits with workers that may fail, leave and join while it runs.

    shoal run -n 4 --min 2 --no-prefix -- python3 examples/digits_elastic.py

The network and the data are those of digits.py. A step is one batch: each worker takes its share,
one allreduce adds the gradients up, and the commit makes it count. When a worker is lost in the
middle, the survivors' sums are made again without it and what it would have read comes first in the
next step, so every digit is read once in every data epoch. A worker that joins gets parameters and
position by a broadcast. SIGTERM makes a worker leave at the end of a step.

Prints a line of JSON for whatever changes; elastic_demo.py makes a story of it.

SPDX-License-Identifier: Apache-2.0
"""

import argparse
import json
import os
import signal
import sys
import time

import digits  # the network and the data
import numpy
import shoal

MEMBERS = 64  # at most


def tell(**fields):
    print(json.dumps({"pid": os.getpid(), "time": time.time(), **fields}), flush=True)


class Worker:
    """A member of the world, its copy of the state, and what it has seen."""

    def __init__(self, world, data, given):
        images, labels = data
        self.held = images[-digits.HELD_OUT :], labels[-digits.HELD_OUT :]
        self.images, self.labels = images[: -digits.HELD_OUT], labels[: -digits.HELD_OUT]
        self.world, self.epochs, self.until = world, given.epochs, given.until
        self.network = digits.Network(given.seed)
        self.samples = shoal.Samples(len(self.labels), batch=digits.BATCH, seed=given.seed)
        self.who = numpy.zeros(MEMBERS + 1)  # and how many of them would end
        self.done = False
        # How often each digit was read; only who is there from the first step on can know.
        self.reads = numpy.zeros(len(self.labels), int) if world.view.step == 0 else None
        self.numbers = numpy.zeros(digits.Network.NUMBERS)
        self.size = 0  # members after the last step
        self.committed_at = time.monotonic()
        self.must_leave = False

    # ---- state ---------------------------------------------------------------------------------

    def share_state(self):
        """From the lowest rank to all; returns the bytes that it takes."""
        position = numpy.zeros(32768, "u1")
        saved = numpy.frombuffer(self.samples.save(), "u1")
        position[: len(saved)] = saved
        length = numpy.array([len(saved)])
        for part in (self.network.parameters, self.network.velocity, length, position):
            self.world.broadcast(part)
        self.samples.restore(position[: length[0]].tobytes())
        return self.network.parameters.nbytes * 2 + length.nbytes + position.nbytes

    # ---- steps ---------------------------------------------------------------------------------

    def step(self):
        moved = 0
        with self.world.step() as step:
            if step.joined:
                moved = self.share_state()
            share = self.samples.assign(step.rank, step.size).indices
            self.network.add_up(self.images[share], self.labels[share])
            self.who[:] = 0
            self.who[step.rank] = 1
            self.who[MEMBERS] = self.until is None or os.path.exists(self.until)
            self.world.allreduce(self.network.sums)
            self.world.allreduce(self.who)  # all operations of a step have the same contributors
            step.samples = len(share)
        if step.committed:
            self.count(step, moved)

    def count(self, step, moved):
        """What was committed takes effect here."""
        contributed = self.who[: step.size] > 0
        data_epoch = self.samples.data_epoch
        for rank in numpy.flatnonzero(contributed):
            if self.reads is not None:
                self.reads[self.samples.assign(int(rank), step.size).indices] += 1
        self.samples.commit(step.size, contributed)
        self.numbers += self.network.step()
        self.tell_changes(step, int((~contributed).sum()), moved)
        if self.samples.data_epoch > data_epoch:
            read, loss, right = self.numbers
            if step.rank == 0:
                tell(data_epoch=data_epoch + 1, loss=loss / read, right=right / read)
            self.numbers[:] = 0
            self.done = data_epoch + 1 >= self.epochs and self.who[MEMBERS] > 0  # alike on all

    def tell_changes(self, step, lost, moved):
        now = time.monotonic()
        pause_ms = 1000 * (now - self.committed_at)
        self.committed_at = now
        joined = step.joined if self.size else 0
        left = self.size + joined - step.size if self.size else 0
        if (lost or joined or left) and speaks(self.who, step):
            members = step.size - lost
            changed = {"joined": joined, "lost": lost, "left": left, "moved": moved}
            tell(step=step.number, members=members, pause_ms=pause_ms, **changed)
        self.size = step.size - lost

    def run(self):
        """True if every digit was read as often as it should be, and enough are recognised."""
        tell(began=self.world.view.epoch)
        while not self.done:
            if self.must_leave:
                self.must_leave = False
                self.world.leave()
            try:
                self.step()
            except shoal.EpochChanged:
                view = self.world.view
                if not view.ended:
                    continue
                tell(gone="left" if view.left else "evicted")
                return view.left
        accuracy = self.network.accuracy(*self.held)
        good = accuracy > digits.ACCURACY_WANTED
        if self.reads is not None:
            wanted = self.samples.data_epoch
            lost = int(numpy.maximum(wanted - self.reads, 0).sum())
            repeated = int(numpy.maximum(self.reads - wanted, 0).sum())
            read = int(self.reads.sum())
            tell(end=True, accuracy=accuracy, read=read, lost=lost, repeated=repeated)
            good = good and lost == 0 and repeated == 0
        return good


def speaks(who, step):
    """Whether this is the lowest rank of those who contributed: one tells for all."""
    return numpy.flatnonzero(who[:MEMBERS])[0] == step.rank


def main():
    parser = argparse.ArgumentParser(description="train on handwritten digits, elastically")
    parser.add_argument("--epochs", type=int, default=30, help="data epochs, at least")
    parser.add_argument("--until", metavar="FILE", help="and on until this file is there")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    data = digits.load_digits(given.seed)  # before it joins: then the others wait for it
    with shoal.World() as world:
        worker = Worker(world, data, given)

        def leave(_number, _frame):
            worker.must_leave = True

        signal.signal(signal.SIGTERM, leave)
        good = worker.run()
    sys.exit(0 if good else "digits were lost or repeated, or too few are recognised")


if __name__ == "__main__":
    main()
