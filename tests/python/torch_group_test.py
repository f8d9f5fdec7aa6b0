"""The backend of torch.distributed: every operation, futures, groups, what is refused. Any ranks.

SPDX-License-Identifier: Apache-2.0
"""

import threading
import unittest
from datetime import timedelta

import torch
import torch.distributed as dist

import shoal
import shoal.torch

ReduceOp = dist.ReduceOp
TIMEOUT = timedelta(seconds=30)
DTYPES = (
    torch.int8,
    torch.uint8,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
)
# Only moved, never reduced.
OTHER_DTYPES = (torch.int16, torch.bool, torch.complex64)
rank = size = 0


def mine(*shape, of=None, dtype=torch.float32):
    return torch.full(shape, rank + 1 if of is None else of + 1).to(dtype)


class GroupTest(unittest.TestCase):
    def check(self, tensor, value):
        wanted = torch.full(tensor.shape, value).to(tensor.dtype)
        self.assertTrue(torch.equal(tensor, wanted), f"{tensor} is not all {value}")

    def raises(self, cls, *parts):
        return self.assertRaisesRegex(cls, ".*".join(parts))


class OperationsTest(GroupTest):
    def test_allreduce(self):
        everybody = range(1, size + 1)
        for dtype in DTYPES:
            for op, wanted in (
                (ReduceOp.SUM, sum(everybody)),
                (ReduceOp.MIN, 1),
                (ReduceOp.MAX, size),
            ):
                tensor = mine(3, 5, dtype=dtype)
                dist.all_reduce(tensor, op=op)
                self.check(tensor, wanted)
        tensor = torch.full((7,), 2.0)
        dist.all_reduce(tensor, op=ReduceOp.PRODUCT)
        self.check(tensor, 2.0**size)
        tensor = mine(7)
        dist.all_reduce(tensor, op=ReduceOp.AVG)
        self.check(tensor, (size + 1) / 2)
        dist.all_reduce(torch.zeros(0))

    def test_truth_values(self):
        for op, wanted in (
            (ReduceOp.BAND, [True, size == 1]),
            (ReduceOp.PRODUCT, [True, size == 1]),
            (ReduceOp.MIN, [True, size == 1]),
            (ReduceOp.BOR, [True, True]),
            (ReduceOp.SUM, [True, True]),
            (ReduceOp.MAX, [True, True]),
        ):
            tensor = torch.tensor([True, rank == 0])
            dist.all_reduce(tensor, op=op)
            self.assertEqual(tensor.tolist(), wanted, op)
        with self.raises(shoal.Unsupported, "BXOR", "truth values", "SUM"):
            dist.all_reduce(torch.tensor([True]), op=ReduceOp.BXOR)

    def test_several_tensors_at_once(self):
        tensors = [mine(n) for n in (1, 100, 100000)]
        group = dist.group.WORLD
        group.allreduce_coalesced(tensors).wait()
        for tensor in tensors:
            self.check(tensor, size * (size + 1) / 2)

    def test_broadcast(self):
        for dtype in DTYPES + OTHER_DTYPES:
            for root in range(size):
                tensor = mine(2, 3, dtype=dtype)
                dist.broadcast(tensor, root)
                self.check(tensor, root + 1)

    def test_reduce(self):
        for root in range(size):
            tensor = mine(1000)
            dist.reduce(tensor, root)
            if rank == root:
                self.check(tensor, size * (size + 1) / 2)

    def test_allgather(self):
        for dtype in DTYPES + OTHER_DTYPES:
            parts = [torch.zeros(2, 3, dtype=dtype) for _ in range(size)]
            dist.all_gather(parts, mine(2, 3, dtype=dtype))
            whole = torch.zeros(size * 4, dtype=dtype)
            dist.all_gather_into_tensor(whole, mine(4, dtype=dtype))
            for each in range(size):
                self.check(parts[each], each + 1)
                self.check(whole[each * 4 :][:4], each + 1)

    def test_outputs_may_have_gaps(self):
        grid = torch.zeros(5, size)
        dist.all_gather([grid[:, each] for each in range(size)], mine(5))
        for each in range(size):
            self.check(grid[:, each].contiguous(), each + 1)

    def test_reduce_scatter(self):
        parts = [torch.full((3,), float(each)) * (rank + 1) for each in range(size)]
        output = torch.zeros(3)
        dist.reduce_scatter(output, parts)
        total = size * (size + 1) / 2
        self.check(output, rank * total)
        dist.reduce_scatter_tensor(output, torch.cat(parts), op=ReduceOp.AVG)
        self.check(output, rank * total / size)

    def test_gather_and_scatter(self):
        root = size - 1
        parts = [torch.zeros(4) for _ in range(size)] if rank == root else None
        dist.gather(mine(4), parts, dst=root)
        if rank == root:
            for each in range(size):
                self.check(parts[each], each + 1)
        output = torch.zeros(4)
        parts = [mine(4, of=each) for each in range(size)] if rank == root else None
        dist.scatter(output, parts, src=root)
        self.check(output, rank + 1)

    def test_objects(self):
        everybody = [None] * size
        dist.all_gather_object(everybody, {"rank": rank, "text": "x" * rank})
        self.assertEqual([each["rank"] for each in everybody], list(range(size)))
        values = ["from 0", 17] if rank == 0 else [None, None]
        dist.broadcast_object_list(values, src=0)
        self.assertEqual(values, ["from 0", 17])

    def test_barrier(self):
        dist.barrier()

    def test_parameters(self):
        parameter = torch.nn.Parameter(mine(3, 4))
        dist.all_reduce(parameter)
        self.check(parameter.detach(), size * (size + 1) / 2)


class WorkTest(GroupTest):
    def test_in_flight(self):
        tensors = [mine(1 + 1000 * n) for n in range(20)]
        works = [dist.all_reduce(tensor, async_op=True) for tensor in tensors]
        for work in reversed(works):
            self.assertTrue(work.wait())
            self.assertTrue(work.is_completed())
            self.assertTrue(work.is_success())
            self.assertIsNone(work.exception())
        for tensor in tensors:
            self.check(tensor, size * (size + 1) / 2)

    def test_futures(self):
        for count in (1, 1000000):
            called = threading.Event()
            tensor = mine(count)
            future = dist.all_reduce(tensor, async_op=True).get_future()
            doubled = future.then(lambda done: (called.set(), done.value()[0] * 2)[1])
            self.check(doubled.wait(), size * (size + 1))
            self.assertTrue(called.is_set())
            self.assertEqual(future.value()[0].data_ptr(), tensor.data_ptr())

    def test_a_future_and_a_wait(self):
        tensor = mine(100000)
        work = dist.all_reduce(tensor, async_op=True)
        future = work.get_future()
        self.assertIs(work.get_future(), future)
        work.wait()
        future.wait()
        self.check(tensor, size * (size + 1) / 2)

    def test_works_that_nobody_keeps(self):
        tensors = [mine(50) for _ in range(600)]
        for tensor in tensors:
            dist.all_reduce(tensor, async_op=True)
        dist.barrier()
        for tensor in tensors:
            self.check(tensor, size * (size + 1) / 2)

    def test_a_wait_with_a_timeout(self):
        tensor = mine(10)
        if rank > 0:
            meeting.wait(["0 has waited"])
        work = dist.all_reduce(tensor, async_op=True)
        if rank == 0 and size > 1:
            with self.raises(shoal.Timeout, "allreduce", "0.05 s", "goes on"):
                work.wait(timedelta(milliseconds=50))
            self.assertFalse(work.is_completed())
            meeting.set("0 has waited", "")
        work.wait()
        self.check(tensor, size * (size + 1) / 2)

    def test_disagreement(self):
        if size == 1:
            return
        work = dist.all_reduce(mine(10 + (rank == 0)), async_op=True)
        with self.raises(shoal.Mismatch, "count 11"):
            work.wait()
        self.assertIn("count 11", str(work.exception()))
        self.assertFalse(work.is_success())
        future = dist.all_reduce(mine(10 + (rank == 0)), async_op=True).get_future()
        with self.raises(RuntimeError, "Mismatch", "count 11"):
            future.wait()
        dist.barrier()


class GroupsTest(GroupTest):
    def test_several(self):
        everybody = dist.new_group(list(range(size)))
        first = dist.new_group([0])
        ends = dist.new_group(sorted({0, size - 1}))
        works, tensors = [], []
        for group in (None, everybody, first, ends):
            if group is not dist.GroupMember.NON_GROUP_MEMBER:
                tensors.append(mine(1000))
                works.append(dist.all_reduce(tensors[-1], group=group, async_op=True))
        for work in filter(None, works):
            work.wait()
        total = size * (size + 1) / 2
        self.check(tensors[0], total)
        self.check(tensors[1], total)
        if rank == 0:
            self.check(tensors[2], 1)
        if rank in (0, size - 1):
            self.check(tensors[-1], 1 if size == 1 else 1 + size)
            self.assertEqual(dist.get_world_size(ends), min(size, 2))
            self.assertEqual(dist.get_rank(ends), 0 if rank == 0 else 1)
        comm = everybody.comm
        dist.destroy_process_group(everybody)
        del everybody
        with self.raises(shoal.InvalidArgument, "closed"):
            comm.barrier()
        dist.barrier()

    def test_names(self):
        self.assertEqual(dist.get_backend(), "shoal")
        self.assertEqual(dist.group.WORLD.name(), "shoal")
        self.assertEqual((dist.get_rank(), dist.get_world_size()), (rank, size))
        self.assertIsInstance(dist.group.WORLD.comm, shoal.Comm)

    @unittest.skipUnless(dist.is_gloo_available(), "needs gloo")
    def test_beside_gloo(self):
        gloo = dist.new_group(backend="gloo")
        theirs, ours = mine(100), mine(100)
        dist.all_reduce(theirs, group=gloo)
        dist.all_reduce(ours)
        self.assertTrue(torch.equal(theirs, ours))


class RefusedTest(GroupTest):
    def test_tensors(self):
        grid = torch.zeros(4, 6)
        for tensor, *parts in (
            (grid.t(), r"\(6, 4\)", r"\(1, 6\)", "contiguous"),
            (grid.to_sparse(), "sparse", "to_dense"),
            (torch.zeros(3, device="meta"), "meta", "cpu"),
            (torch.zeros(3, dtype=torch.int16), "int16", "float32"),
        ):
            with self.raises(shoal.CallError, *parts):
                dist.group.WORLD.allreduce([tensor])
        with self.raises(shoal.InvalidArgument, "conj"):
            dist.group.WORLD.broadcast([torch.zeros(3, dtype=torch.complex64).conj()])
        dist.barrier()

    def test_reductions(self):
        for op in (ReduceOp.BAND, ReduceOp.BXOR):
            with self.raises(shoal.Unsupported, "of numbers", "SUM", "gloo"):
                dist.all_reduce(torch.zeros(3, dtype=torch.int32), op=op)
        with self.raises(shoal.Unsupported, "AVG", "truth values"):
            dist.all_reduce(torch.zeros(3, dtype=torch.bool), op=ReduceOp.AVG)

    def test_shapes(self):
        group = dist.group.WORLD
        parts = [torch.zeros(3) for _ in range(size)]
        with self.raises(shoal.InvalidArgument, f"{size + 1} tensors", f"{size} ranks"):
            group.allgather([[*parts, torch.zeros(3)]], [torch.zeros(3)])
        with self.raises(shoal.InvalidArgument, r"tensor_list\[0\]", "3 elements", "4"):
            group.allgather([parts], [torch.zeros(4)])
        with self.raises(shoal.InvalidArgument, "output", "float64"):
            group._allgather_base(torch.zeros(size * 3, dtype=torch.float64), torch.zeros(3))
        with self.raises(shoal.InvalidArgument, "input has", f"{size} times 3"):
            group._reduce_scatter_base(torch.zeros(3), torch.zeros(size * 3 + 1))
        with self.raises(shoal.InvalidArgument, "list", "not a tensor"):
            group.allreduce([[1.0]])
        dist.barrier()

    def test_what_is_not_there(self):
        group, tensor = dist.group.WORLD, torch.zeros(size)
        for call in (
            lambda: group.send([tensor], 0, 0),
            lambda: group.recv([tensor], 0, 0),
            lambda: group.recv_anysource([tensor], 0),
            lambda: group.alltoall([tensor], [tensor]),
            lambda: dist.all_to_all_single(tensor, tensor),
        ):
            with self.raises(NotImplementedError, "shoal has no", "gloo"):
                call()


class LifeTest(GroupTest):
    def test_a_store_that_outlives_groups(self):
        for _ in range(2):
            group = shoal.torch.meeting.create_group(meeting, rank, size, TIMEOUT)
            tensor = mine(10)
            group.allreduce([tensor]).wait()
            self.check(tensor, size * (size + 1) / 2)
            group.barrier().wait()
            group.shutdown()
            group.shutdown()

    def test_destroyed_and_made_again(self):
        comm = dist.group.WORLD.comm
        dist.barrier()
        dist.destroy_process_group()
        with self.raises(shoal.InvalidArgument, "closed"):
            comm.barrier()
        join(dist.PrefixStore("again", meeting))
        tensor = mine(10)
        dist.all_reduce(tensor)
        self.check(tensor, size * (size + 1) / 2)

    def test_an_address_in_the_url(self):
        if size > 1:
            with self.raises(shoal.InvalidArgument, "launcher knows it"):
                next(dist.rendezvous("shoal://host:1"))


def join(store):
    dist.init_process_group("shoal", store=store, rank=rank, world_size=size, timeout=TIMEOUT)


if __name__ == "__main__":
    meeting, rank, size = next(dist.rendezvous("shoal://", timeout=TIMEOUT))
    join(meeting)
    program = unittest.main(exit=False, failfast=True, verbosity=0)
    dist.destroy_process_group()
    raise SystemExit(not program.result.wasSuccessful())
