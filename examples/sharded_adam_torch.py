"""Train a PyTorch network with Adam whose moments are sharded over the ranks, beside one process.

    shoal run -n 4 --no-prefix -- python3 examples/sharded_adam_torch.py
    torchrun --nproc-per-node 4 examples/sharded_adam_torch.py

Every rank has all parameters, and the moments of its block alone: reduce_scatter leaves it its
block of the summed gradient, torch.optim.Adam moves its block of the parameters, all_gather gives
them to all. Batches come from shoal.Samples: each digit once per data epoch, in shares that may
differ in size, so gradients are weighted. Rank 0 trains a second network alone with the whole of
torch's Adam, on the samples of all; both must agree to rounding. The exit status says whether they
do, and whether more than 95 % of the held-out digits are read.

Data: the digits that scikit-learn ships (apt-get install python3-sklearn python3-torch).

SPDX-License-Identifier: Apache-2.0
"""

import torch
import torch.distributed as dist
from digits_torch import (
    HELD_OUT,
    accuracy,
    difference,
    load_digits,
    make_network,
    run,
    show,
    vector,
)
from torch.nn.functional import cross_entropy

import shoal
import shoal.torch

BATCH = 50  # Does not divide by 4, nor does the data divide by it.
RATE = 0.005
ACCURACY_WANTED = 0.95
DIFFERENCE_ALLOWED = 1e-9  # of the largest parameter; rounding alone makes about 1e-13


class ShardedAdam:
    """torch.optim.Adam on this rank's block of all parameters.

    The parameters become views of one vector, and so do their gradients, each padded to equal
    blocks for all ranks. What the network computes with is that vector.
    """

    def __init__(self, parameters, rank, size, **options):
        self.parameters = list(parameters)
        count = sum(parameter.numel() for parameter in self.parameters)
        block = -(-count // size)
        self.vector = self.parameters[0].new_zeros(block * size).detach()
        self.gradient = torch.zeros_like(self.vector)
        start = 0
        for parameter in self.parameters:
            end = start + parameter.numel()
            self.vector[start:end] = parameter.detach().reshape(-1)
            parameter.data = self.vector[start:end].view_as(parameter)
            parameter.grad = self.gradient[start:end].view_as(parameter)
            start = end
        self.own = torch.nn.Parameter(self.vector[rank * block : (rank + 1) * block].clone())
        self.own.grad = torch.zeros_like(self.own)
        self.adam = torch.optim.Adam([self.own], **options)

    def zero_grad(self):
        self.gradient.zero_()

    def step(self):
        """Gradients of all ranks add up."""
        dist.reduce_scatter_tensor(self.own.grad, self.gradient)
        self.adam.step()
        dist.all_gather_into_tensor(self.vector, self.own.detach())

    def moments(self):
        """How many this rank keeps."""
        state = self.adam.state[self.own]
        return state["exp_avg"].numel() + state["exp_avg_sq"].numel()


def train_epoch(network, optimizer, loader):
    """One data epoch; returns the sum of this process's shares of each batch's mean loss."""
    total = torch.zeros((), dtype=torch.double)
    for batch in loader:
        optimizer.zero_grad()
        if batch.data is not None:
            images, labels = batch.data
            loss = cross_entropy(network(images), labels) * batch.weight
            loss.backward()
            total += loss.detach()
        optimizer.step()
        loader.commit()
    return total


class Alone:
    """The view of a job of one."""

    rank, size = 0, 1


def train(epochs, seed):
    rank, size = dist.get_rank(), dist.get_world_size()
    images, labels = load_digits(seed)
    held = images[-HELD_OUT:], labels[-HELD_OUT:]
    digits = torch.utils.data.TensorDataset(images[:-HELD_OUT], labels[:-HELD_OUT])
    networks = [make_network(seed), make_network(seed)]
    optimizer = ShardedAdam(networks[0].parameters(), rank, size, lr=RATE)
    adam = torch.optim.Adam(networks[1].parameters(), lr=RATE)
    loaders = [
        shoal.torch.StepLoader(digits, shoal.Samples(len(digits), batch=BATCH, seed=seed), view)
        for view in (dist.group.WORLD.comm, Alone)
    ]
    show(f"{'epoch':>5}  {f'loss, {size} ranks':>14}  {'loss, alone':>14}  largest difference")
    for epoch in range(1, epochs + 1):
        loss = train_epoch(networks[0], optimizer, loaders[0])
        dist.all_reduce(loss)
        if rank == 0:
            loss1 = train_epoch(networks[1], adam, loaders[1])
            steps = -(-len(digits) // BATCH)
            apart = difference(*networks)
            show(f"{epoch:5}  {loss / steps:14.6f}  {loss1 / steps:14.6f}  {apart:18.1e}")
    if rank != 0:
        return True
    read, apart = accuracy(networks[0], *held), difference(*networks)
    whole = 2 * vector(networks[0]).numel()
    show(f"held-out digits read: {read:.2%}; moments kept here: {optimizer.moments()} of {whole}")
    show(f"parameters differ by at most {apart:.1e} of the largest")
    return apart <= DIFFERENCE_ALLOWED and read > ACCURACY_WANTED


if __name__ == "__main__":
    run("sharded Adam on handwritten digits", train, epochs=14)
