"""Train a small network on handwritten digits, data-parallel, and compare with one process.

    shoal run -n 4 --no-prefix -- python3 examples/digits.py

Each rank computes the gradient of its share of every batch; one allreduce adds the shares and
their sizes, so that the mean over the batch does not depend on how it was shared out. Rank 0 trains
a second network by itself, on the same batches: both must agree to rounding. The exit status says
whether they do, and whether more than 97 % of the held-out digits are read.

Data: the digits that scikit-learn ships (apt-get install python3-sklearn, or pip install
scikit-learn), 1797 images of 8 by 8 pixels.

SPDX-License-Identifier: Apache-2.0
"""

import argparse
import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # The ranks share the cores already.

import numpy
import shoal

HELD_OUT = 360
HIDDEN = 128
BATCH = 50  # Does not divide by 4: the shares differ in size.
RATE, MOMENTUM, DECAY = 0.1, 0.9, 1e-4
ACCURACY_WANTED = 0.97
DIFFERENCE_ALLOWED = 1e-12  # of the largest parameter; rounding alone makes about 1e-15


def load_digits(seed):
    """Images and labels, in an order that all ranks agree on; the last ones are held out."""
    try:
        from sklearn import datasets
    except ImportError:
        sys.exit("this example needs scikit-learn: apt-get install python3-sklearn")
    digits = datasets.load_digits()
    order = numpy.random.default_rng(seed).permutation(len(digits.target))
    return digits.data[order] / 16.0, digits.target[order]


class Network:
    """64 pixels, a hidden layer, 10 digits; all parameters in one vector, all gradients in another.

    The gradients lie in memory from Shoal, so the ranks of a host add them up directly. Behind them
    follow the numbers of the batch: samples, loss, correct answers.
    """

    SHAPES = ((64, HIDDEN), (HIDDEN,), (HIDDEN, 10), (10,))
    PARAMETERS = sum(int(numpy.prod(shape)) for shape in SHAPES)
    NUMBERS = 3

    def __init__(self, seed):
        self.parameters = numpy.zeros(self.PARAMETERS)
        self.velocity = numpy.zeros(self.PARAMETERS)
        self.sums = shoal.empty(self.PARAMETERS + self.NUMBERS, "f64").numpy()
        random = numpy.random.default_rng(seed)
        for part in self.parts(self.parameters)[::2]:
            part[:] = random.normal(size=part.shape) * numpy.sqrt(2 / len(part))

    def parts(self, vector):
        """Weights and biases as views of a vector."""
        views, start = [], 0
        for shape in self.SHAPES:
            end = start + int(numpy.prod(shape))
            views.append(vector[start:end].reshape(shape))
            start = end
        return views

    def forward(self, images):
        weights1, bias1, weights2, bias2 = self.parts(self.parameters)
        hidden = numpy.maximum(images @ weights1 + bias1, 0)
        return hidden, hidden @ weights2 + bias2

    def add_up(self, images, labels):
        """Gradients and numbers, summed (not averaged) over these samples, into self.sums."""
        hidden, scores = self.forward(images)
        scores -= scores.max(axis=1, keepdims=True)
        likely = numpy.exp(scores)
        likely /= likely.sum(axis=1, keepdims=True)
        rows = numpy.arange(len(labels))
        loss = -numpy.log(likely[rows, labels]).sum()
        correct = (scores.argmax(axis=1) == labels).sum()

        error = likely
        error[rows, labels] -= 1
        weights1, bias1, weights2, bias2 = self.parts(self.sums)
        numpy.matmul(hidden.T, error, out=weights2)
        error.sum(axis=0, out=bias2)
        error_hidden = (error @ self.parts(self.parameters)[2].T) * (hidden > 0)
        numpy.matmul(images.T, error_hidden, out=weights1)
        error_hidden.sum(axis=0, out=bias1)
        self.sums[self.PARAMETERS :] = len(labels), loss, correct

    def step(self):
        """Descend along the mean gradient; returns samples, loss and correct answers."""
        numbers = self.sums[self.PARAMETERS :].copy()
        gradient = self.sums[: self.PARAMETERS] / numbers[0]
        self.velocity *= MOMENTUM
        self.velocity += gradient + DECAY * self.parameters
        self.parameters -= RATE * self.velocity
        return numbers

    def accuracy(self, images, labels):
        return (self.forward(images)[1].argmax(axis=1) == labels).mean()


def train_epoch(network, images, labels, order, comm=None):
    """One pass over all batches; with a communicator this rank works on its share of each."""
    numbers = numpy.zeros(Network.NUMBERS)
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        if comm:
            batch = batch[comm.rank :: comm.size]
        network.add_up(images[batch], labels[batch])
        if comm:
            comm.allreduce(network.sums)
        numbers += network.step()
    samples, loss, correct = numbers
    return loss / samples, correct / samples


def difference(together, alone):
    scale = numpy.abs(alone.parameters).max()
    return numpy.abs(together.parameters - alone.parameters).max() / scale


def same_everywhere(comm, network):
    """Whether all ranks hold the same bits."""
    bits = network.parameters.view("u8")
    low, high = numpy.empty_like(bits), numpy.empty_like(bits)
    comm.allreduce(bits, low, "min")
    comm.allreduce(bits, high, "max")
    return (low == high).all()


def train(comm, epochs, seed):
    images, labels = load_digits(seed)
    held_images, held_labels = images[-HELD_OUT:], labels[-HELD_OUT:]
    images, labels = images[:-HELD_OUT], labels[:-HELD_OUT]
    together, alone = Network(seed), Network(seed)
    random = numpy.random.default_rng(seed)
    many = f"{comm.size} process{'es' if comm.size > 1 else ''}"
    show(comm, f"handwritten digits: {len(labels)} to learn from, {HELD_OUT} held out")
    show(comm, f"network: 64-{HIDDEN}-10, {Network.PARAMETERS} parameters, batches of {BATCH}")
    show(comm, f"{'':>5}  {many:^22}  {'1 process':^22}  largest")
    show(comm, f"{'epoch':>5}  " + f"{'loss':>10}  {'accuracy':>10}  " * 2 + "difference")
    for epoch in range(1, epochs + 1):
        order = random.permutation(len(labels))
        loss, right = train_epoch(together, images, labels, order, comm)
        if comm.rank != 0:
            continue
        loss1, right1 = train_epoch(alone, images, labels, order)
        apart = difference(together, alone)
        show(
            comm,
            f"{epoch:5}  {loss:10.6f}  {right:10.2%}  {loss1:10.6f}  {right1:10.2%}  {apart:10.1e}",
        )
    same = same_everywhere(comm, together)
    if comm.rank != 0:
        return same
    read, read1 = (n.accuracy(held_images, held_labels) for n in (together, alone))
    apart = difference(together, alone)
    show(comm, f"held-out digits read: {read:.2%} by {many}, {read1:.2%} by one")
    show(comm, f"parameters differ by at most {apart:.1e} of the largest")
    show(comm, f"all ranks hold the same bits: {'yes' if same else 'NO'}")
    return same and apart <= DIFFERENCE_ALLOWED and min(read, read1) > ACCURACY_WANTED


def show(comm, line):
    if comm.rank == 0:
        print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description="train on handwritten digits, data-parallel")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with shoal.init() as comm:
        passed = train(comm, given.epochs, given.seed)
    sys.exit(0 if passed else "the two runs disagree, or too few digits are read")


if __name__ == "__main__":
    main()
