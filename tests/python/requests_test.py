"""Operations in flight, several communicators and threads, reductions in Python. Two ranks or more.

SPDX-License-Identifier: Apache-2.0
"""

import gc
import threading
import unittest

import numpy

import ranks
import shoal


def everyone():
    """The sum of rank + 1 over all ranks."""
    return ranks.comm.size * (ranks.comm.size + 1) // 2


def filled(count=100, dtype="f8"):
    return numpy.full(count, ranks.comm.rank + 1, dtype=dtype)


class InFlightTest(unittest.TestCase):
    def test_several_at_once(self):
        buckets = [filled(count) for count in (1, 10, 1000, 100000, 0, 77)]
        requests = [ranks.comm.allreduce_async(bucket) for bucket in buckets]
        for request, bucket in zip(reversed(requests), reversed(buckets)):
            self.assertTrue(request.wait())
            self.assertTrue(request.done)
            self.assertIs(request.result, bucket)
            self.assertTrue((bucket == everyone()).all())

    def test_more_than_fit_at_once(self):
        buckets = [filled(10) for _ in range(300)]
        for request in [ranks.comm.allreduce_async(bucket) for bucket in buckets]:
            request.wait()
        self.assertTrue(all((bucket == everyone()).all() for bucket in buckets))

    def test_every_collective(self):
        comm = ranks.comm
        rank, size = comm.rank, comm.size
        gathered, block = numpy.zeros(5 * size), numpy.zeros(5)
        whole, cast, reduced = filled(5 * size), filled(5), numpy.zeros(5)
        requests = [
            comm.allreduce_async(filled(5), block),
            comm.reduce_scatter_async(whole, cast, "max"),
            comm.allgather_async(filled(5), gathered),
            comm.reduce_async(filled(5), reduced, "prod", root=size - 1),
            comm.barrier_async(),
        ]
        for request in requests:
            self.assertTrue(request.wait(timeout=20))
        self.assertEqual(block.tolist(), [everyone()] * 5)
        self.assertEqual(cast.tolist(), [size] * 5)
        self.assertEqual(gathered.tolist(), [r + 1 for r in range(size) for _ in range(5)])
        expected = numpy.prod(numpy.arange(1, size + 1)) if rank == size - 1 else 0
        self.assertEqual(reduced.tolist(), [expected] * 5)
        request = comm.broadcast_async(filled(3), 1)
        request.wait()
        self.assertEqual(request.result.tolist(), [2, 2, 2])

    def test_a_wait_that_ends_leaves_it_going(self):
        comm = ranks.comm
        if comm.rank == 0:
            request = comm.allreduce_async(filled())
            self.assertFalse(request.wait(timeout=0.01))
            self.assertFalse(request.wait(timeout=0))
            self.assertFalse(request.test())
            self.assertFalse(request.done)
        self.side.barrier()
        if comm.rank != 0:
            request = comm.allreduce_async(filled())
        self.assertTrue(request.wait(timeout=20))
        self.assertTrue(request.wait(), "the outcome stays")
        self.assertTrue(request.test())
        self.assertEqual(request.result[0], everyone())

    def test_testing_finishes_it(self):
        request = ranks.comm.allreduce_async(filled(100000))
        ranks.wait_until(request.test, "allreduce")
        self.assertTrue((request.result == everyone()).all())

    def test_abort(self):
        comm = ranks.comm
        if comm.rank == 0:
            request = comm.allreduce_async(filled())
            request.abort()
            self.assertTrue(request.done)
            for _ in range(2):
                with self.assertRaises(shoal.Aborted):
                    request.wait()
            with self.assertRaises(shoal.Aborted):
                request.test()
        self.side.barrier()
        if comm.rank != 0:
            with self.assertRaisesRegex(shoal.Aborted, "rank 0"):
                comm.allreduce(filled())
        self.assert_in_step()

    def test_abort_of_a_finished_one_changes_nothing(self):
        request = ranks.comm.allreduce_async(filled())
        request.wait()
        request.abort()
        self.assertTrue(request.wait())

    def test_garbage_collection_of_an_unfinished_one(self):
        comm = ranks.comm
        if comm.rank == 0:
            request = comm.allreduce_async(filled())
            del request
            gc.collect()
        self.side.barrier()
        if comm.rank != 0:
            with self.assertRaises(shoal.Aborted):
                comm.allreduce(filled())
        self.assert_in_step()

    def test_with_block(self):
        with ranks.comm.allreduce_async(filled()) as request:
            pass
        self.assertTrue(request.done)
        self.assertEqual(request.result[0], everyone())

    def test_with_block_that_raises(self):
        comm = ranks.comm
        if comm.rank == 0:
            with self.assertRaises(KeyError):
                with comm.allreduce_async(filled()) as request:
                    raise KeyError
            self.assertTrue(request.done)
        self.side.barrier()
        if comm.rank != 0:
            with self.assertRaises(shoal.Aborted):
                comm.allreduce(filled())
        self.assert_in_step()

    def test_a_communicator_closed_with_requests(self):
        child = ranks.comm.split(0)
        over = child.allreduce_async(filled())
        over.wait()
        forgotten = child.allreduce_async(filled())
        ranks.wait_until(forgotten.test, "allreduce")
        late = child.allreduce_async(filled()) if child.rank == 0 else None
        ranks.comm.barrier()  # a rank that has closed it is an error to those who start later
        if child.rank == 0:
            child.close()
        ranks.comm.barrier()  # and to those who wait
        child.close()
        self.assertTrue(over.wait())
        self.assertTrue(forgotten.wait())
        if late is not None:
            with self.assertRaisesRegex(shoal.Aborted, "closed"):
                late.wait()
            self.assertTrue(late.done)
        del over, forgotten, late
        gc.collect()
        child.close()
        with self.assertRaisesRegex(shoal.InvalidArgument, "closed"):
            child.barrier()
        self.assertIn("closed", repr(child))

    def assert_in_step(self):
        values = filled()
        ranks.comm.allreduce(values)
        self.assertTrue((values == everyone()).all())

    def setUp(self):
        self.side = ranks.comm.split(0)

    def tearDown(self):
        self.side.close()


class CommunicatorsTest(unittest.TestCase):
    def test_split_into_two(self):
        comm = ranks.comm
        with comm.split(comm.rank % 2, key=-comm.rank) as child:
            members = [rank for rank in range(comm.size) if rank % 2 == comm.rank % 2][::-1]
            self.assertEqual((child.rank, child.size), (members.index(comm.rank), len(members)))
            values = filled()
            child.allreduce(values)
            self.assertEqual(values[0], sum(rank + 1 for rank in members))

    def test_split_without_some(self):
        comm = ranks.comm
        child = comm.split(None if comm.rank == 0 else 3)
        if comm.rank == 0:
            self.assertIsNone(child)
        else:
            self.assertEqual(child.size, comm.size - 1)
            child.close()
        with self.assertRaises(shoal.InvalidArgument):
            comm.split(-1)

    def test_two_communicators_in_turns(self):
        with ranks.comm.split(0) as one, ranks.comm.split(0) as two:
            requests = []
            for turn in range(20):
                order = (one, two) if (ranks.comm.rank + turn) % 2 else (two, one)
                requests += [comm.allreduce_async(filled()) for comm in order]
            for request in requests:
                request.wait()
                self.assertEqual(request.result[0], everyone())

    def test_threads_with_a_communicator_each(self):
        comms = [ranks.comm.split(0) for _ in range(4)]
        wrong = []

        def work(comm):
            for count in range(1, 200):
                values = filled(count)
                comm.allreduce(values)
                if (values != everyone()).any():
                    wrong.append((comm, count))

        threads = [threading.Thread(target=work, args=(comm,)) for comm in comms]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for comm in comms:
            comm.close()
        self.assertEqual(wrong, [])

    def test_why_from_another_thread(self):
        comm = ranks.comm
        if comm.rank == 0:
            thread = threading.Thread(target=comm.allreduce, args=(filled(),))
            thread.start()
            ranks.wait_until(lambda: "allreduce" in comm.why(), "why names the operation")
            ranks.wait_until(lambda: "not called it" in comm.why(), "why names the ranks")
        ranks.side.barrier()
        if comm.rank == 0:
            thread.join()
        else:
            comm.allreduce(filled())
        self.assertIn("no operation is outstanding", comm.why())

    def test_abort_from_another_thread(self):
        comm = ranks.comm
        caught = []

        def reduce():
            try:
                comm.allreduce(filled())
            except shoal.Aborted as error:
                caught.append(str(error))

        if comm.rank == 0:
            thread = threading.Thread(target=reduce)
            thread.start()
            ranks.wait_until(lambda: "allreduce" in comm.why(), "why names the operation")
            comm.abort("the test says so")
            thread.join()
        ranks.side.barrier()
        if comm.rank != 0:
            reduce()
        self.assertEqual(len(caught), 1)
        self.assertIn("the test says so", caught[0])
        comm.barrier()

    def test_closing_while_another_thread_waits(self):
        """The waiting thread gets Aborted, and only then the communicator goes."""
        child = ranks.comm.split(0)
        caught = []

        def wait(operation):
            try:
                operation()
            except shoal.Aborted as error:
                caught.append(error)

        if child.rank == 0:
            request = child.allreduce_async(filled())
            works = (request.wait, child.barrier, lambda: child.split(0))
            threads = [threading.Thread(target=wait, args=(work,)) for work in works]
            for thread in threads:
                thread.start()
            ranks.wait_until(lambda: len(child._calls) == len(works), "all threads are in calls")
            ranks.wait_until(lambda: "not called it" in child.why(), "they wait")
            child.close()
            for thread in threads:
                thread.join()
            self.assertEqual(len(caught), len(works))
        ranks.side.barrier()
        child.close()

    def test_plan(self):
        for which in shoal.Collective:
            plan = ranks.comm.plan(which, 1000)
            self.assertTrue(plan.algorithm and plan.transport)
            self.assertEqual(plan, ranks.comm.plan(which.name.lower(), 1000, dtype="float32"))
        with self.assertRaisesRegex(shoal.InvalidArgument, "alltoall"):
            ranks.comm.plan("alltoall", 1)
        for count in (-1, 1 << 63):
            with self.assertRaises(shoal.InvalidArgument):
                ranks.comm.plan("allreduce", count)


class UserOpTest(unittest.TestCase):
    def test_a_reduction_in_python(self):
        seen = set()

        def absolute_max(a, b, out, dtype):
            seen.add(dtype)
            numpy.maximum(numpy.abs(a), numpy.abs(b), out=numpy.asarray(out))

        op = ranks.comm.create_op(absolute_max)
        for count in (1, 1000, 100000):
            values = filled(count) * (-1) ** ranks.comm.rank
            ranks.comm.allreduce(values, op=op)
            self.assertTrue((numpy.abs(values) == ranks.comm.size).all())
        request = ranks.comm.allreduce_async(filled(7, "i4"), op=op)
        request.wait()
        self.assertEqual(request.result.tolist(), [ranks.comm.size] * 7)
        self.assertEqual(seen, {shoal.DType.F64, shoal.DType.I32})

    def test_operands_in_rank_order(self):
        def first(a, b, out, dtype):
            out[:] = a

        op = ranks.comm.create_op(first, commutes=False)
        values = filled(50)
        ranks.comm.allreduce(values, op=op)
        self.assertEqual(values.tolist(), [1] * 50)

    def test_operands_are_views_of_the_right_kind(self):
        kinds = set()

        def look(a, b, out, dtype):
            kinds.add((a.format, a.readonly, b.readonly, out.readonly, len(a) == len(out)))
            out[:] = b

        op = ranks.comm.create_op(look)
        ranks.comm.allreduce(numpy.zeros(9, dtype="u2"), op=op, dtype="bf16")
        ranks.comm.barrier()
        self.assertLessEqual(kinds, {("H", True, True, False, True)})

    def test_what_it_raises_comes_out_of_the_operation(self):
        def fail(a, b, out, dtype):
            raise KeyError("in the reduction")

        op = ranks.comm.create_op(fail)
        raised = 0
        for run in (
            lambda: ranks.comm.allreduce(filled(), op=op),
            lambda: ranks.comm.allreduce_async(filled(), op=op).wait(),
        ):
            try:
                run()
            except KeyError:
                raised += 1
        total = ranks.comm.allreduce(numpy.array([raised]))
        self.assertGreaterEqual(total[0], 2, "at least one rank reduces in each of the two")

    def test_of_another_communicator(self):
        op = ranks.comm.create_op(lambda a, b, out, dtype: None)
        with ranks.comm.split(0) as child:
            with self.assertRaisesRegex(shoal.InvalidArgument, "another communicator"):
                child.allreduce(filled(), op=op)


def setUpModule():
    ranks.side = ranks.comm.split(0)


def tearDownModule():
    ranks.side.close()


if __name__ == "__main__":
    ranks.main()
