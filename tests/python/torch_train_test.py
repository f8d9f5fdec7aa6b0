"""DistributedDataParallel on the backend shoal. Any ranks.

Gradients must be those of one process that sees the whole batch, and the same bits on all ranks.

SPDX-License-Identifier: Apache-2.0
"""

import unittest
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import shoal.torch  # noqa: F401  (registers the backend)

SHARE = 8  # samples of each rank
rank = size = 0


class Branches(torch.nn.Module):
    """Every other step leaves a part without gradients."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(20, 5), torch.nn.Linear(20, 5)

    def forward(self, samples, both):
        result = self.first(samples)
        return result + self.second(samples) if both else result


def network(seed):
    torch.manual_seed(seed)
    wide = torch.nn.Linear(300, 300)
    layers = (torch.nn.Linear(20, 300), torch.nn.Tanh(), wide, torch.nn.Linear(300, 5))
    return torch.nn.Sequential(*layers).double()


def batch(step):
    """All samples of a step, the same on every rank."""
    random = torch.Generator().manual_seed(step)
    return torch.randn(size * SHARE, 20, generator=random).double()


def own_share(samples):
    return samples[rank * SHARE :][:SHARE]


class TrainTest(unittest.TestCase):
    def check_same_everywhere(self, tensors):
        for tensor in tensors:
            everybody = [torch.empty_like(tensor) for _ in range(size)]
            dist.all_gather(everybody, tensor)
            for other in everybody:
                self.assertTrue(torch.equal(other, tensor))

    def gradients(self, parallel, steps, backend=None):
        """Of a network that all ranks train together."""
        together = DistributedDataParallel(
            network(seed=rank), bucket_cap_mb=0.05, process_group=backend, **parallel
        )
        optimizer = torch.optim.SGD(together.parameters(), 0.1)
        for step in range(steps):
            optimizer.zero_grad()
            together(own_share(batch(step))).square().mean().backward()
            optimizer.step()
        return [parameter.grad for parameter in together.parameters()], together

    def test_as_one_process(self):
        alone = network(seed=0)
        optimizer = torch.optim.SGD(alone.parameters(), 0.1)
        for step in range(4):
            optimizer.zero_grad()
            alone(batch(step)).square().mean().backward()
            optimizer.step()
        for parallel in ({}, {"gradient_as_bucket_view": True}):
            found, together = self.gradients(parallel, steps=4)
            for gradient, parameter in zip(found, alone.parameters()):
                torch.testing.assert_close(gradient, parameter.grad, rtol=1e-12, atol=1e-14)
            self.check_same_everywhere([p.detach() for p in together.parameters()])

    @unittest.skipUnless(dist.is_gloo_available(), "needs gloo")
    def test_as_gloo(self):
        ours, _ = self.gradients({}, steps=2)
        theirs, _ = self.gradients({}, steps=2, backend=dist.new_group(backend="gloo"))
        for one, other in zip(ours, theirs):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)

    def test_parts_without_gradients(self):
        torch.manual_seed(rank)
        together = DistributedDataParallel(Branches(), find_unused_parameters=True)
        for step in range(4):
            samples = own_share(batch(step)).float()
            together(samples, both=step % 2 == 0).square().mean().backward()
        self.check_same_everywhere([parameter.grad for parameter in together.parameters()])

    def test_accumulation(self):
        together = DistributedDataParallel(network(seed=rank))
        alone = network(seed=0)
        with together.no_sync():
            together(own_share(batch(0))).square().mean().backward()
        together(own_share(batch(1))).square().mean().backward()
        for step in (0, 1):
            alone(batch(step)).square().mean().backward()
        for one, other in zip(together.parameters(), alone.parameters()):
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-12, atol=1e-14)

    def test_buffers_follow_rank_0(self):
        torch.manual_seed(rank)
        together = DistributedDataParallel(torch.nn.BatchNorm1d(20))
        for step in range(3):
            together(own_share(batch(step)).float()).sum().backward()
        together.eval()
        together.train()
        together(own_share(batch(9)).float())
        self.check_same_everywhere([p.grad for p in together.parameters()])

    def test_a_hook_of_futures(self):
        """Hooks chain on the future of an operation."""

        def halved(_, bucket):
            work = dist.all_reduce(bucket.buffer(), async_op=True)
            return work.get_future().then(lambda done: done.value()[0] / (2 * size))

        plain, _ = self.gradients({}, steps=1)
        together = DistributedDataParallel(network(seed=rank), bucket_cap_mb=0.05)
        together.register_comm_hook(None, halved)
        together(own_share(batch(0))).square().mean().backward()
        for one, other in zip(together.parameters(), plain):
            torch.testing.assert_close(one.grad * 2, other, rtol=1e-12, atol=1e-14)


if __name__ == "__main__":
    dist.init_process_group("shoal", init_method="shoal://", timeout=timedelta(seconds=30))
    rank, size = dist.get_rank(), dist.get_world_size()
    program = unittest.main(exit=False, failfast=True, verbosity=0)
    dist.destroy_process_group()
    raise SystemExit(not program.result.wasSuccessful())
