"""Train a PyTorch network with Adam whose moments are sharded over workers that come and go.

    shoal run -n 4 --min 1 --no-prefix -- python3 examples/sharded_adam_elastic_torch.py

Every worker has all parameters. The moments are world.state: of each part one worker is the owner,
and another keeps a copy. torch.optim.Adam works on views of what this worker owns, whichever that
is in a step. When a worker is lost its parts go on from the copies, the step begins again, and what
it would have read comes in the next. A worker that joins gets the parameters and its part.

What was committed is kept by all: the loss of each step, and which digits it was made of. In the
end every worker repeats that alone with the whole of torch's Adam; losses and parameters must agree
to rounding, and every digit must have been read once in each data epoch. The exit status says
whether that is so.

Data: the digits that scikit-learn ships (apt-get install python3-sklearn python3-torch).

SPDX-License-Identifier: Apache-2.0
"""

import argparse
import json
import os
import sys
import time

import numpy
import shoal
import torch
from digits_torch import difference, load_digits, make_network
from sharded_adam_torch import BATCH, RATE
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector, vector_to_parameters

STEPS_MAX = 20000
DIFFERENCE_ALLOWED = 1e-9  # relative; rounding alone makes about 1e-13
PACE_SECONDS = 0.01  # of a step while others are awaited


def tell(**fields):
    sys.stdout.write(json.dumps(fields) + "\n")  # in one piece, since workers share it
    sys.stdout.flush()


class Worker:
    def __init__(self, world, data, seed):
        self.world, self.seed = world, seed
        self.images, self.labels = data
        self.network = make_network(seed)
        self.parameters = parameters_to_vector(self.network.parameters()).detach().clone()
        self.moments = [torch.zeros_like(self.parameters) for _ in range(2)]
        self.losses = numpy.zeros(STEPS_MAX)
        self.read = numpy.full((STEPS_MAX, BATCH), -1, "int32")  # by the step, by all workers
        self.state = world.state(
            {"parameters": self.parameters, "losses": self.losses, "read": self.read}
        )
        for name, moment in zip(("exp_avg", "exp_avg_sq"), self.moments):
            self.state.add(name, moment, sharded=True)
        self.samples = world.samples(len(self.labels), batch=BATCH, seed=seed)
        self.size_told = 0

    def gradient(self, indices):
        """Of the mean loss of these samples, and behind it the loss."""
        vector_to_parameters(self.parameters, self.network.parameters())
        self.network.zero_grad()
        result = torch.zeros(len(self.parameters) + 1, dtype=torch.double)
        if len(indices) == 0:
            return result
        loss = cross_entropy(self.network(self.images[indices]), self.labels[indices])
        loss.backward()
        gradients = [parameter.grad for parameter in self.network.parameters()]
        result[:-1] = parameters_to_vector(gradients)
        result[-1] = loss.detach()
        return result

    def move_owned(self, gradient, number):
        """What this worker owns of the parameters, moved; elsewhere 0."""
        moved = torch.zeros_like(self.parameters)
        owned = self.state.owned("exp_avg")
        if not owned:
            return moved
        parts = [torch.nn.Parameter(self.parameters[part].clone()) for part in owned]
        adam = torch.optim.Adam(parts, lr=RATE)
        for parameter, part in zip(parts, owned):
            parameter.grad = gradient[part]
            adam.state[parameter] = {
                "step": torch.tensor(float(number)),
                "exp_avg": self.moments[0][part],
                "exp_avg_sq": self.moments[1][part],
            }
        adam.step()
        for parameter, part in zip(parts, owned):
            moved[part] = parameter.detach()
        return moved

    def step(self, enough):
        """True when all want to end."""
        ends = numpy.array([float(enough)])
        read = numpy.zeros(len(self.labels), "int32")
        with self.world.step() as step:
            share = self.samples.take()
            indices = share.indices.tolist()
            read[indices] = 1
            mean = self.gradient(indices)
            self.world.mean(mean, weight=len(indices))
            self.world.allreduce(read)
            self.world.allreduce(ends, op="min")
            moved = self.move_owned(mean[:-1], step.number)
            self.world.allreduce(moved)
        if not step.committed:
            return False
        self.parameters.copy_(moved)  # replicated: before the commit it is not to change
        self.losses[step.number] = mean[-1]
        chosen = numpy.repeat(numpy.arange(len(read)), read)
        self.read[step.number, : len(chosen)] = chosen
        if step.joined or step.number % 20 == 0 or step.size != self.size_told:
            self.size_told = step.size
            tell(step=step.number, size=step.size, joined=step.joined, loss=float(mean[-1]))
        return ends[0] == 1

    # ---- afterwards ----------------------------------------------------------------------------

    def repeat_alone(self, steps):
        """How far losses and parameters are from those of one worker; relative."""
        network, apart = make_network(self.seed), 0.0
        adam = torch.optim.Adam(network.parameters(), lr=RATE)
        for number in range(steps):
            indices = self.read[number][self.read[number] >= 0]
            adam.zero_grad()
            loss = cross_entropy(network(self.images[indices]), self.labels[indices])
            loss.backward()
            adam.step()
            apart = max(apart, abs(float(loss.detach()) / self.losses[number] - 1))
        vector_to_parameters(self.parameters, self.network.parameters())
        return max(apart, difference(self.network, network))

    def count_wrong(self, steps):
        """Digits that were not read once in a data epoch."""
        read, total = self.read[:steps], len(self.labels)
        read = read[read >= 0]
        epochs = [read[first : first + total] for first in range(0, len(read), total)]
        times = [numpy.bincount(epoch, minlength=total) for epoch in epochs]
        return int(sum((part != 1).sum() for part in times[:-1]) + (times[-1] > 1).sum())


def main():
    parser = argparse.ArgumentParser(description="sharded Adam with workers that come and go")
    parser.add_argument("--steps", type=int, default=300, help="at least, with all workers there")
    parser.add_argument("--until", metavar="FILE", help="and on until this file is there")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)  # The workers share the cores already.
    data = load_digits(given.seed)
    with shoal.World(step_mode=shoal.StepMode.ABORT) as world:
        worker, done = Worker(world, data, given.seed), False
        tell(began=os.getpid(), step=world.view.step)
        start = int(os.environ.get("SHOAL_WORLD_START", "1"))
        while not done and world.view.step < STEPS_MAX:
            view = world.view
            enough = given.until is None or os.path.exists(given.until)
            done = worker.step(enough and view.step + 1 >= given.steps)
            if view.size < start:
                time.sleep(PACE_SECONDS)
        steps = world.view.step
        moved = worker.state.info.bytes_moved
    apart, wrong = worker.repeat_alone(steps), worker.count_wrong(steps)
    tell(done=os.getpid(), steps=steps, apart=apart, wrong=wrong, moved=moved)
    agrees = apart <= DIFFERENCE_ALLOWED and wrong == 0
    sys.exit(0 if agrees else "it is not what one worker comes to")


if __name__ == "__main__":
    main()
