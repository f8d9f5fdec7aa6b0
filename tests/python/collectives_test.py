"""Every collective, type and operation against numpy, in place and out of place.

SPDX-License-Identifier: Apache-2.0
"""

import unittest

import numpy

import formats
import ranks
import shoal

COUNTS = (0, 1, 7, 1000, 70001)
REFERENCE = {
    "sum": lambda rows: rows.sum(axis=0),
    "prod": lambda rows: rows.prod(axis=0),
    "min": lambda rows: rows.min(axis=0),
    "max": lambda rows: rows.max(axis=0),
    "avg": lambda rows: rows.sum(axis=0) / len(rows),
}


def inputs(count: int, op: str) -> numpy.ndarray:
    """A row for each rank. All results are exact in every type, fp8 too."""
    size = ranks.comm.size
    rank, index = numpy.ogrid[0:size, 0:count]
    if op == "prod":
        # At most one factor in a column is not 1.
        return numpy.where(index % size == rank, index % 3 + 1, 1).astype("f8")
    if op == "avg":
        # Every rank has the same, so the average is it.
        return (index % 3 + 0 * rank).astype("f8")
    if op == "sum":
        # At most two of a column are not 0; sums are at most 8.
        return ((index + rank) % size < 2) * ((index + 3 * rank) % 4 + 1.0)
    return ((index + rank) % 8).astype("f8")


class CollectivesTest(unittest.TestCase):
    def assert_values(self, array, dtype, expected, what):
        found = formats.decode(array, dtype)
        wrong = numpy.flatnonzero(found != expected)
        if wrong.size:
            at = wrong[0]
            self.fail(f"{what}: {wrong.size} wrong; [{at}] is {found[at]}, not {expected[at]}")

    def cases(self, ops=tuple(REFERENCE)):
        for count in COUNTS:
            for dtype in formats.DTYPES:
                for op in ops:
                    what = f"{dtype} {op} count {count}, {ranks.comm.size} ranks"
                    given = None if formats.is_native(dtype) else dtype
                    yield count, dtype, op, given, what

    def test_allreduce(self):
        for count, dtype, op, given, what in self.cases():
            rows = inputs(count, op)
            expected = REFERENCE[op](rows)
            send = formats.encode(rows[ranks.comm.rank], dtype)
            recv = formats.zeros(count, dtype)
            self.assertIs(ranks.comm.allreduce(send, recv, op, dtype=given), recv)
            self.assert_values(recv, dtype, expected, what)
            self.assert_values(send, dtype, rows[ranks.comm.rank], f"send after {what}")
            self.assertIs(ranks.comm.allreduce(send, op=op, dtype=given), send)
            self.assert_values(send, dtype, expected, f"{what} in place")

    def test_reduce(self):
        comm = ranks.comm
        for turn, (count, dtype, op, given, what) in enumerate(self.cases()):
            root = turn % comm.size
            rows = inputs(count, op)
            send = formats.encode(rows[comm.rank], dtype)
            recv = formats.zeros(count, dtype) if comm.rank == root else None
            result = comm.reduce(send, recv, op, root, dtype=given)
            in_place = comm.reduce(send, None, op, root, dtype=given)
            self.assertIs(result, recv)
            self.assertIs(in_place, send if comm.rank == root else None)
            expected = REFERENCE[op](rows) if comm.rank == root else rows[comm.rank]
            self.assert_values(send, dtype, expected, f"{what} in place, root {root}")
            if comm.rank == root:
                self.assert_values(recv, dtype, expected, f"{what}, root {root}")

    def test_reduce_scatter(self):
        comm = ranks.comm
        for count, dtype, op, given, what in self.cases():
            rows = inputs(count * comm.size, op)
            expected = REFERENCE[op](rows)[comm.rank * count : (comm.rank + 1) * count]
            send = formats.encode(rows[comm.rank], dtype)
            recv = formats.zeros(count, dtype)
            self.assertIs(comm.reduce_scatter(send, recv, op, dtype=given), recv)
            self.assert_values(recv, dtype, expected, what)
            self.assertIs(comm.reduce_scatter(send, op=op, dtype=given), send)
            own = send[comm.rank * count : (comm.rank + 1) * count]
            self.assert_values(own, dtype, expected, f"{what} in place")

    def test_allgather(self):
        comm = ranks.comm
        for count, dtype, op, given, what in self.cases(ops=("max",)):
            rows = inputs(count, op)
            send = formats.encode(rows[comm.rank], dtype)
            recv = formats.zeros(count * comm.size, dtype)
            self.assertIs(comm.allgather(send, recv, dtype=given), recv)
            self.assert_values(recv, dtype, rows.ravel(), what)
            recv[:] = 0
            recv[comm.rank * count : (comm.rank + 1) * count] = send
            self.assertIs(comm.allgather(None, recv, dtype=given), recv)
            self.assert_values(recv, dtype, rows.ravel(), f"{what} in place")

    def test_broadcast(self):
        comm = ranks.comm
        for turn, (count, dtype, op, given, what) in enumerate(self.cases(ops=("max",))):
            root = turn % comm.size
            rows = inputs(count, op)
            buffer = formats.encode(rows[comm.rank], dtype)
            self.assertIs(comm.broadcast(buffer, root, dtype=given), buffer)
            self.assert_values(buffer, dtype, rows[root], f"{what} from {root}")
            send = formats.encode(rows[0], dtype) if comm.rank == root else None
            comm.broadcast(buffer, root, send=send, dtype=given)
            self.assert_values(buffer, dtype, rows[0], f"{what} from {root}, out of place")

    def test_barrier(self):
        for _ in range(100):
            self.assertIsNone(ranks.comm.barrier())

    def test_integer_average_truncates_toward_zero(self):
        comm = ranks.comm
        values = numpy.array([-5 - comm.rank, 5 + comm.rank], dtype="i4")
        total = 5 * comm.size + comm.size * (comm.size - 1) // 2
        comm.allreduce(values, op="avg")
        self.assertEqual(values.tolist(), [-(total // comm.size), total // comm.size])

    def test_nan_propagates_through_min_and_max(self):
        for op in ("min", "max"):
            values = numpy.array([1.0, float(ranks.comm.rank)], dtype="f4")
            if ranks.comm.rank == ranks.comm.size - 1:
                values[0] = numpy.nan
            ranks.comm.allreduce(values, op=op)
            self.assertTrue(numpy.isnan(values[0]))
            self.assertEqual(values[1], 0 if op == "min" else ranks.comm.size - 1)

    def test_overflow_wraps(self):
        values = numpy.full(3, 127, dtype="i1")
        ranks.comm.allreduce(values)
        expected = (127 * ranks.comm.size + 128) % 256 - 128
        self.assertEqual(values.tolist(), [expected] * 3)

    def test_operations_by_name_and_by_member(self):
        for op in shoal.Op:
            one = ranks.comm.allreduce(numpy.full(5, 2.0), op=op)
            two = ranks.comm.allreduce(numpy.full(5, 2.0), op=op.name.lower())
            self.assertEqual(one.tolist(), two.tolist())

    def test_several_dimensions(self):
        values = numpy.ones((3, 4, 5), dtype="f4")
        ranks.comm.allreduce(values)
        self.assertEqual(values.shape, (3, 4, 5))
        self.assertTrue((values == ranks.comm.size).all())

    def test_misaligned(self):
        raw = numpy.zeros(4 * 1000 + 1, dtype="u1")
        values = raw[1:].view("f4")
        values[:] = 1
        ranks.comm.allreduce(values)
        self.assertTrue((values == ranks.comm.size).all())


if __name__ == "__main__":
    ranks.main()
