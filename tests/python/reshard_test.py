"""Reshards from Python. One rank or more.

SPDX-License-Identifier: Apache-2.0
"""

import unittest

import numpy

import ranks
import shoal

TOTAL = 1000


def held(layout, dtype="f4"):
    """A buffer for this rank's elements; None when it has none."""
    count = layout.count(TOTAL, ranks.comm.rank, ranks.comm.size)
    return numpy.empty(count, dtype) if count else None


def layouts():
    size = ranks.comm.size
    last = size - 1
    counts = [TOTAL - last * 7] + [7] * last
    spans = [(400, 600, 0), (0, 100, last), (100, 300, 0)]
    return [
        shoal.Layout.block(),
        shoal.Layout.block(ranks=1, first_rank=last),
        shoal.Layout.blocks(counts),
        shoal.Layout.cyclic(3),
        shoal.Layout.cyclic(2, ranks=1, first_rank=last),
        shoal.Layout.spans(spans),
    ]


class ReshardTest(unittest.TestCase):
    def test_there_and_back(self):
        """Every layout from block, and back again: the same elements."""
        block = shoal.Layout.block()
        mine = held(block)
        each = -(-TOTAL // ranks.comm.size)
        expected = None
        if mine is not None:
            mine[:] = numpy.arange(len(mine)) + ranks.comm.rank * each
            expected = mine.copy()
        for layout in layouts():
            there = held(layout)
            self.assertIs(ranks.comm.reshard(mine, there, TOTAL, block, layout, dtype="f32"), there)
            if mine is not None:
                mine[:] = -1
            request = ranks.comm.reshard_async(there, mine, TOTAL, layout, block, dtype="f32")
            self.assertTrue(request.wait())
            if mine is not None:
                self.assertTrue((mine == expected).all())

    def test_spans_in_their_order(self):
        if ranks.comm.size > 1:
            self.skipTest("one rank sees it all")
        turned = shoal.Layout.spans([(600, 400, 0), (0, 600, 0)])
        out = ranks.comm.reshard(
            numpy.arange(TOTAL), numpy.empty(TOTAL, "i8"), TOTAL, shoal.Layout.block(), turned
        )
        self.assertEqual(out[:3].tolist(), [600, 601, 602])
        self.assertEqual(out[400:403].tolist(), [0, 1, 2])

    def test_bytes(self):
        block, one = shoal.Layout.block(), shoal.Layout.block(ranks=1)
        expected = 0 if ranks.comm.rank == 0 else 4 * block.count(
            TOTAL, ranks.comm.rank, ranks.comm.size
        )
        self.assertEqual(ranks.comm.reshard_bytes(TOTAL, block, one), expected)
        self.assertEqual(ranks.comm.reshard_bytes(TOTAL, block, block, dtype="f64"), 0)

    def test_errors(self):
        block = shoal.Layout.block()
        mine, other = held(block), held(block)
        wrong = (
            lambda: ranks.comm.reshard(mine[1:], other, TOTAL, block, block),
            lambda: ranks.comm.reshard(mine, other.astype("f8"), TOTAL, block, block),
            lambda: ranks.comm.reshard(None, None, TOTAL, block, block),
            lambda: ranks.comm.reshard(mine, mine, TOTAL, block, block),
            lambda: ranks.comm.reshard(mine, other, -1, block, block),
            lambda: shoal.Layout.blocks([]),
            lambda: shoal.Layout.cyclic(0).count(10, 0, 1),
            lambda: shoal.Layout.spans([(0, 5, 0), (4, 1, 0)]).count(10, 0, 1),
            lambda: block.count(10, 3, 3),
        )
        for call in wrong:
            with self.assertRaises(shoal.InvalidArgument):
                call()

    def test_disagreement(self):
        if ranks.comm.size == 1:
            self.skipTest("nobody to disagree with")
        block = shoal.Layout.block()
        target = shoal.Layout.cyclic(1 + (ranks.comm.rank == 0))
        with self.assertRaises(shoal.Mismatch):
            ranks.comm.reshard(held(block), held(target), TOTAL, block, target)
        ranks.comm.barrier()


if __name__ == "__main__":
    ranks.main()
