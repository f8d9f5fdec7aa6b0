"""Train a PyTorch network on handwritten digits, data-parallel over Shoal, beside one process.

    shoal run -n 4 --no-prefix -- python3 examples/digits_torch.py
    torchrun --nproc-per-node 4 examples/digits_torch.py

The two lines that matter are `import shoal.torch` and init_process_group("shoal"): the rest is
DistributedDataParallel as everywhere. Rank 0 trains a second copy by itself, on the same batches;
both must agree to rounding. The exit status says whether they do, and whether more than 97 % of
the held-out digits are read.

Data: the digits that scikit-learn ships (apt-get install python3-sklearn python3-torch, or pip
install scikit-learn torch), 1797 images of 8 by 8 pixels.

SPDX-License-Identifier: Apache-2.0
"""

import argparse
import os
import sys

import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

import shoal.torch  # noqa: F401  registers the backend "shoal"

HELD_OUT = 360
BATCH = 48  # of all ranks together; shares are equal, since DDP takes the mean over ranks
ACCURACY_WANTED = 0.97
DIFFERENCE_ALLOWED = 1e-12  # of the largest parameter; rounding alone makes about 1e-15


def load_digits(seed):
    """Images and labels, in an order that all ranks agree on; the last ones are held out."""
    try:
        from sklearn import datasets
    except ImportError:
        sys.exit("this example needs scikit-learn: apt-get install python3-sklearn")
    digits = datasets.load_digits()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(seed))
    return torch.tensor(digits.data)[order] / 16, torch.tensor(digits.target)[order]


def make_network(seed):
    torch.manual_seed(seed)
    layers = (torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    return torch.nn.Sequential(*layers).double()


def make_optimizer(network):
    return torch.optim.SGD(network.parameters(), 0.2, momentum=0.9, weight_decay=1e-4)


def train_epoch(network, optimizer, images, labels, order, share):
    """One pass over all batches, of which this process takes a share; returns its mean loss."""
    losses = []
    for start in range(0, len(order) - BATCH + 1, BATCH):
        batch = order[start : start + BATCH][share]
        optimizer.zero_grad()
        loss = cross_entropy(network(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses).mean()


def vector(network):
    return torch.nn.utils.parameters_to_vector(network.parameters()).detach()


def difference(together, alone):
    one, other = vector(together), vector(alone)
    return float((one - other).abs().max() / other.abs().max())


def same_everywhere(network):
    """Whether all ranks hold the same bits."""
    low, high = vector(network).clone(), vector(network).clone()
    dist.all_reduce(low, op=dist.ReduceOp.MIN)
    dist.all_reduce(high, op=dist.ReduceOp.MAX)
    return torch.equal(low, high)


def accuracy(network, images, labels):
    with torch.no_grad():
        return float((network(images).argmax(1) == labels).double().mean())


def train(epochs, seed):
    rank, size = dist.get_rank(), dist.get_world_size()
    if BATCH % size:
        sys.exit(f"batches of {BATCH} cannot be shared equally by {size} processes")
    images, labels = load_digits(seed)
    held = images[-HELD_OUT:], labels[-HELD_OUT:]
    images, labels = images[:-HELD_OUT], labels[:-HELD_OUT]
    together, alone = make_network(seed), make_network(seed)
    together = DistributedDataParallel(together)
    optimizers = make_optimizer(together), make_optimizer(alone)
    random = torch.Generator().manual_seed(seed)
    many = f"{size} process{'es' if size > 1 else ''}"
    show(f"handwritten digits: {len(labels)} to learn from, {HELD_OUT} held out")
    show(f"PyTorch {torch.__version__}, backend {dist.get_backend()}, batches of {BATCH}")
    show(f"{'epoch':>5}  {'loss, ' + many:>18}  {'loss, 1 process':>16}  largest difference")
    for epoch in range(1, epochs + 1):
        order = torch.randperm(len(labels), generator=random)
        share = slice(rank, None, size)
        loss = train_epoch(together, optimizers[0], images, labels, order, share)
        dist.all_reduce(loss, op=dist.ReduceOp.AVG)
        if rank == 0:
            loss1 = train_epoch(alone, optimizers[1], images, labels, order, slice(None))
            show(f"{epoch:5}  {loss:18.6f}  {loss1:16.6f}  {difference(together, alone):18.1e}")
    same = same_everywhere(together)
    if rank != 0:
        return same
    read, read1 = accuracy(together, *held), accuracy(alone, *held)
    apart = difference(together, alone)
    show(f"held-out digits read: {read:.2%} by {many}, {read1:.2%} by one")
    show(f"parameters differ by at most {apart:.1e} of the largest")
    show(f"all ranks hold the same bits: {'yes' if same else 'NO'}")
    return same and apart <= DIFFERENCE_ALLOWED and min(read, read1) > ACCURACY_WANTED


def show(line):
    if dist.get_rank() == 0:
        print(line, flush=True)


def run(description, train_it, epochs):
    """Join the job, train, and end with what that says; sharded_adam_torch.py does so, too."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)  # The ranks share the cores already.
    # torchrun says where PyTorch's own store is; with other launchers Shoal arranges one.
    launched_by_torch = "MASTER_ADDR" in os.environ
    dist.init_process_group("shoal", init_method="env://" if launched_by_torch else "shoal://")
    passed = train_it(given.epochs, given.seed)
    dist.destroy_process_group()
    sys.exit(0 if passed else "the two runs disagree, or too few digits are read")


if __name__ == "__main__":
    run("train on handwritten digits with PyTorch", train, epochs=30)
