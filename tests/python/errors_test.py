"""Disagreement, deadlines and misuse are exceptions with the C library's text. Three ranks.

SPDX-License-Identifier: Apache-2.0
"""

import os
import pickle
import unittest

import numpy

import ranks
import shoal


def filled(count=8, dtype="f4"):
    return numpy.full(count, ranks.comm.rank + 1, dtype=dtype)


class MismatchTest(unittest.TestCase):
    def disagree(self, one, others, *parts):
        """Each rank in turn calls something else; all get the same text, and stay usable."""
        for odd in range(ranks.comm.size):
            with self.assertRaises(shoal.Mismatch) as caught:
                (one if ranks.comm.rank == odd else others)(ranks.comm)
            for part in parts:
                self.assertIn(part, str(caught.exception))
            self.assertEqual(caught.exception.status, shoal.Status.MISMATCH)
            text = numpy.zeros(1024, dtype="u1")
            raw = str(caught.exception).encode()
            text[: len(raw)] = numpy.frombuffer(raw, dtype="u1")
            low, high = ranks.comm.allreduce(text.copy(), op="min"), text
            ranks.comm.allreduce(high, op="max")
            self.assertEqual(low.tolist(), high.tolist(), "the text is the same on all ranks")

    def test_count(self):
        self.disagree(
            lambda comm: comm.allreduce(filled(500)),
            lambda comm: comm.allreduce(filled(1000)),
            "count 500",
            "count 1000",
        )

    def test_large_counts(self):
        self.disagree(
            lambda comm: comm.allreduce(filled(100000)),
            lambda comm: comm.allreduce(filled(100001)),
            "count 100000",
            "count 100001",
        )

    def test_dtype(self):
        self.disagree(
            lambda comm: comm.allreduce(filled(dtype="i4")),
            lambda comm: comm.allreduce(filled(dtype="f4")),
            "i32",
            "f32",
        )

    def test_op(self):
        self.disagree(
            lambda comm: comm.allreduce(filled(), op="max"),
            lambda comm: comm.allreduce(filled(), op="sum"),
            "max",
            "sum",
        )

    def test_root(self):
        self.disagree(
            lambda comm: comm.broadcast(filled(), 1),
            lambda comm: comm.broadcast(filled(), 2),
            "root 1",
            "root 2",
        )

    def test_order(self):
        self.disagree(
            lambda comm: comm.broadcast(filled(), 0),
            lambda comm: comm.allreduce(filled()),
            "broadcast",
            "allreduce",
        )

    def test_in_flight(self):
        self.disagree(
            lambda comm: comm.allreduce_async(filled(3)).wait(),
            lambda comm: comm.allreduce_async(filled(4)).wait(),
            "count 3",
            "count 4",
        )


class DeadlineTest(unittest.TestCase):
    def test_a_rank_that_does_not_call(self):
        comm = ranks.comm
        absent = comm.size - 1
        if comm.rank != absent:
            with self.assertRaisesRegex(shoal.Timeout, f"rank {absent}") as caught:
                comm.allreduce(filled(), timeout=0.3)
            self.assertIsInstance(caught.exception, TimeoutError)
        ranks.side.barrier()
        if comm.rank == absent:
            with self.assertRaises(shoal.Timeout):
                comm.allreduce(filled())
        comm.barrier()

    def test_a_request_has_a_deadline_too(self):
        comm = ranks.comm
        if comm.rank != 0:
            request = comm.barrier_async(timeout=0.3)
            with self.assertRaisesRegex(shoal.Timeout, "rank 0"):
                request.wait()
            with self.assertRaises(shoal.Timeout):
                request.wait(timeout=1)
        ranks.side.barrier()
        if comm.rank == 0:
            with self.assertRaises(shoal.Timeout):
                comm.barrier()
        comm.barrier()


class MisuseTest(unittest.TestCase):
    def test_a_forked_child(self):
        """Everything of the parent's is refused in the child, and the parent is unharmed."""
        memory = shoal.empty(4)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os._exit(self.in_child(memory, write))
        os.close(write)
        status = os.waitpid(child, 0)[1]
        with os.fdopen(read, "rb") as answers:
            kinds = pickle.load(answers)
        self.assertEqual(status, 0)
        self.assertEqual(kinds, ["Forked"] * 5)
        self.assertEqual(ranks.comm.allreduce(filled())[0], sum(range(1, ranks.comm.size + 1)))

    @staticmethod
    def in_child(memory, write):
        kinds = []
        for call in (
            lambda: ranks.comm.allreduce(filled()),
            lambda: ranks.comm.allreduce_async(filled()),
            lambda: ranks.comm.split(0),
            ranks.comm.why,
            ranks.comm.close,
        ):
            try:
                call()
                kinds.append("nothing")
            except Exception as error:  # noqa: BLE001
                kinds.append(type(error).__name__)
        del memory
        with shoal.init(rank=0, size=1) as own:
            if own.allreduce(numpy.ones(3)).tolist() != [1, 1, 1]:
                return 1
        with os.fdopen(write, "wb") as answers:
            pickle.dump(kinds, answers)
        return 0

    def test_classes(self):
        self.assertTrue(issubclass(shoal.InvalidArgument, ValueError))
        self.assertTrue(issubclass(shoal.PeerLost, ConnectionError))
        self.assertTrue(issubclass(shoal.NoMemory, MemoryError))
        for name in shoal.__all__:
            cls = getattr(shoal, name)
            if isinstance(cls, type) and issubclass(cls, Exception):
                self.assertTrue(issubclass(cls, shoal.ShoalError))
                self.assertTrue(cls.__doc__, name)


def setUpModule():
    ranks.side = ranks.comm.split(0)


def tearDownModule():
    ranks.side.close()


if __name__ == "__main__":
    ranks.main()
