"""Placement of virtual shards from Python. One process.

SPDX-License-Identifier: Apache-2.0
"""

import unittest

import shoal


def even(count):
    return [(100 + number, number // 2) for number in range(count)]


class PlacementTest(unittest.TestCase):
    def test_members_come_and_go(self):
        first = shoal.place(even(6), 300)
        self.assertEqual((first.copies, first.lost, first.owners), (0, 0, 0))
        for shard in range(300):
            owner, replica = first.of(shard)
            self.assertNotEqual((owner - 100) // 2, (replica - 100) // 2)
        gone = shoal.place(even(6)[1:], 300, holders=first.holders)
        self.assertIn(gone.copies, range(100, 103))
        self.assertEqual(gone.lost, 0)
        back = shoal.place(even(6), 300, holders=gone.holders)
        self.assertIn(back.copies, range(100, 103))
        self.assertEqual(back.lost, 0)
        same = shoal.place(reversed(even(6)), 300, holders=back.holders)
        self.assertEqual((same.copies, same.owners), (0, 0))
        self.assertEqual(same.holders, back.holders)

    def test_what_is_lost(self):
        first = shoal.place([(1, 1), (2, 2), (3, 3)], 30, replicas=0)
        left = shoal.place([(1, 1)], 30, 0, first.holders)
        self.assertEqual((left.copies, left.lost), (0, 20))
        self.assertEqual(left.of(7, replicas=0), [1])

    def test_errors(self):
        for call in (
            lambda: shoal.place([], 10),
            lambda: shoal.place([(0, 0)], 10),
            lambda: shoal.place([(1, 0), (1, 1)], 10),
            lambda: shoal.place([(1, 0)], 0),
            lambda: shoal.place([(1, 0)], 10, replicas=8),
            lambda: shoal.place([(1, -1)], 10),
            lambda: shoal.place([(1, 0)], 10, holders=[1] * 19),
        ):
            with self.assertRaises(shoal.InvalidArgument):
                call()


if __name__ == "__main__":
    unittest.main()
