"""Train on handwritten digits with workers that may fail, leave and join while it runs.

    shoal run -n 4 --min 2 --no-prefix -- python3 examples/digits_elastic.py

The network and the data are those of digits.py. A step is one batch: each worker takes its share,
one allreduce adds the gradients up, and the commit makes it count. When a worker is lost in the
middle, the survivors' sums are made again without it and what it would have read comes first in
the next step, so every digit is read once in every data epoch. A worker that joins gets the network
from all the others at once, and the position in the samples. SIGTERM makes a worker leave at the
end of a step.

Prints a line of JSON for whatever changes; elastic_demo.py makes a story of it. With --records
every worker writes down what it reads before that may count, and which steps were committed by
whom.

SPDX-License-Identifier: Apache-2.0
"""

import argparse
import json
import os
import pathlib
import signal
import sys
import threading
import time

import digits  # the network and the data
import numpy
import shoal

LOOK_SECONDS = 0.002  # how often it is noted when the view changed


def tell(**fields):
    print(json.dumps({"time": time.time(), **fields}), flush=True)


class Record:
    """What one worker read and committed: lines in a file, which outlive it."""

    def __init__(self, folder, member):
        path = os.devnull if folder is None else pathlib.Path(folder) / f"{member}.jsonl"
        self.file = open(path, "w", encoding="ascii")

    def write(self, **fields):
        print(json.dumps(fields), file=self.file, flush=True)


class Clock:
    """When the view changed for the last time."""

    def __init__(self, world):
        self.world, self.epoch, self.at = world, world.epoch, time.time()
        threading.Thread(target=self._watch, daemon=True).start()

    def changed_at(self):
        return self.at if self.epoch == self.world.epoch else time.time()  # it was not seen yet

    def _watch(self):
        while self.epoch:  # 0: the membership is over
            time.sleep(LOOK_SECONDS)
            epoch = self.world.epoch
            if epoch != self.epoch:
                self.epoch, self.at = epoch, time.time()


class Worker:
    """A member of the world, its copy of the state, and what it has seen."""

    def __init__(self, world, data, given):
        images, labels = data
        self.held = images[-digits.HELD_OUT :], labels[-digits.HELD_OUT :]
        self.images, self.labels = images[: -digits.HELD_OUT], labels[: -digits.HELD_OUT]
        self.world, self.epochs, self.until = world, given.epochs, given.until
        self.network = digits.Network(given.seed)
        self.numbers = numpy.zeros(digits.Network.NUMBERS)
        self.state = world.state(
            {
                "parameters": self.network.parameters,
                "velocity": self.network.velocity,
                "numbers": self.numbers,
            }
        )
        self.samples = world.samples(len(self.labels), batch=digits.BATCH, seed=given.seed)
        self.record, self.clock = Record(given.records, world.id), Clock(world)
        self.done = False
        self.members = None  # by which the last step was committed
        self.committed_at = time.time()
        self.must_leave = False

    # ---- steps ---------------------------------------------------------------------------------

    def step(self):
        ends = numpy.array([float(self.until is None or os.path.exists(self.until))])
        with self.world.step() as step:
            share = self.samples.take()
            read = share.indices
            self.record.write(step=step.number, data_epoch=share.data_epoch, read=read.tolist())
            self.network.add_up(self.images[read], self.labels[read])
            self.world.allreduce(self.network.sums)
            self.world.allreduce(ends)  # all operations of a step have the same contributors
        if step.committed:
            self.count(step, share.data_epoch, ends[0] > 0)

    def count(self, step, data_epoch, ends):
        """What was committed takes effect here."""
        members = self.world.contributors
        self.record.write(committed=step.number, by=members)
        self.numbers += self.network.step()
        self.tell_changes(step, members)
        if self.samples.data_epoch > data_epoch:
            read, loss, right = self.numbers
            if self.world.id == members[0]:
                tell(data_epoch=data_epoch + 1, loss=loss / read, right=right / read)
            self.numbers[:] = 0
            self.done = data_epoch + 1 >= self.epochs and ends  # alike on all

    def tell_changes(self, step, members):
        now = time.time()
        if self.members is None:
            info = self.state.info
            tell(got=info.bytes_received, ms=1000 * info.settle_seconds)
        elif members != self.members and self.world.id == members[0]:  # one tells for all
            gone = [member for member in self.members if member not in members]
            joined = [member for member in members if member not in self.members]
            pause_ms = 1000 * (now - self.committed_at)
            when = {"view_at": self.clock.changed_at(), "pause_ms": pause_ms}
            tell(step=step.number, gone=gone, joined=joined, members=len(members), **when)
        self.members, self.committed_at = members, now

    def run(self):
        """True if it has left as it was asked to, or if enough digits are recognised."""
        tell(began=self.world.id, pid=os.getpid())
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
                tell(over="left" if view.left else "evicted")
                return view.left
        accuracy = self.network.accuracy(*self.held)
        info = self.samples.info()
        tell(end=True, accuracy=accuracy, data_epochs=info.data_epoch, samples=info.samples)
        return accuracy > digits.ACCURACY_WANTED


def main():
    parser = argparse.ArgumentParser(description="train on handwritten digits, elastically")
    parser.add_argument("--epochs", type=int, default=30, help="data epochs, at least")
    parser.add_argument("--until", metavar="FILE", help="and on until this file is there")
    parser.add_argument("--records", metavar="FOLDER", help="write down who reads what")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    data = digits.load_digits(given.seed)  # before it joins: then the others wait for it
    with shoal.World() as world:
        worker = Worker(world, data, given)

        def leave(_number, _frame):
            worker.must_leave = True

        signal.signal(signal.SIGTERM, leave)
        good = worker.run()
    sys.exit(0 if good else "it was evicted, or too few digits are recognised")


if __name__ == "__main__":
    main()
