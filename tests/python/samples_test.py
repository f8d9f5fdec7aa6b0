"""Streams of samples from Python. One process.

SPDX-License-Identifier: Apache-2.0
"""

import gc
import random
import unittest

import numpy

import shoal


class SamplesTest(unittest.TestCase):
    def test_each_sample_once(self):
        samples = shoal.Samples(103, batch=10, seed=4)
        orders = []
        for _ in range(2):
            order, epoch = [], samples.data_epoch
            while samples.data_epoch == epoch:
                for rank in range(3):
                    order += samples.assign(rank, 3).indices
                samples.commit(3)
            self.assertEqual(sorted(order), list(range(103)))
            orders.append(order)
        self.assertNotEqual(*orders)
        self.assertEqual(samples.step, 22)

    def test_shares(self):
        samples = shoal.Samples(10, batch=4, per_rank=True)
        share = samples.assign(0, 2)
        self.assertEqual((len(share.indices), share.total), (4, 8))
        self.assertEqual((share.step, share.data_epoch), (0, 0))
        self.assertEqual(numpy.asarray(share.indices).dtype, numpy.uint64)
        self.assertEqual(samples.steps_left(2), 2)
        tail = samples.assign(1, 4, ahead=1)
        self.assertEqual((tail.data_epoch, tail.step, tail.total), (1, 1, 10))
        self.assertEqual(len(samples.assign(1, 2, ahead=1).indices), 1)

    def test_shards(self):
        samples = shoal.Samples(batch=6, shard_lengths=[2, 4])
        order = list(samples.assign(0, 1).indices)
        self.assertIn(order, ([0, 1, 2, 3, 4, 5], [2, 3, 4, 5, 0, 1]))

    def test_histories(self):
        seed = random.randrange(1 << 30)
        draw = random.Random(seed)
        samples = shoal.Samples(57, batch=8, seed=seed)
        taken = []
        while samples.data_epoch == 0:
            size = draw.randint(1, 6)
            shares = [samples.assign(rank, size) for rank in range(size)]
            if draw.random() < 0.3:
                continue  # Given up.
            contributed = [draw.random() < 0.7 for _ in range(size)]
            contributed[draw.randrange(size)] = True
            other = shoal.Samples(57, batch=3, seed=seed)
            other.restore(samples.save())
            other.apply(samples.commit(size, contributed))
            self.assertEqual(other.save(), samples.save())
            for share, there in zip(shares, contributed):
                taken += share.indices if there else []
        self.assertEqual(sorted(taken), list(range(57)), f"seed {seed}")

    def test_info(self):
        samples = shoal.Samples(20, batch=8)
        samples.commit(2, [False, True])
        info = samples.info()
        self.assertEqual((info.step, info.data_epoch, info.samples, info.consumed), (1, 0, 20, 4))
        self.assertEqual((info.skipped, info.skipped_spans), (4, 1))
        self.assertEqual(repr(samples), "<shoal.Samples step 1, data epoch 0: 4 of 20 consumed>")

    def test_errors(self):
        wrong = (
            lambda: shoal.Samples(0, batch=1),
            lambda: shoal.Samples(1, batch=0),
            lambda: shoal.Samples(-1, batch=1),
            lambda: shoal.Samples(3, batch=1, shard_lengths=[1, 1]),
            lambda: shoal.Samples(3, batch=1, shard_lengths=[-1]),
        )
        for make in wrong:
            with self.assertRaises(shoal.InvalidArgument):
                make()
        samples = shoal.Samples(9, batch=3)
        for call in (
            lambda: samples.assign(2, 2),
            lambda: samples.assign(-1, 2),
            lambda: samples.assign(0, 1 << 32),
            lambda: samples.commit(2, [False, False]),
            lambda: samples.commit(2, [True]),
            lambda: samples.apply(b"no record"),
            lambda: samples.restore(b""),
            lambda: samples.restore(shoal.Samples(9, batch=3, seed=1).save()),
        ):
            with self.assertRaises(shoal.InvalidArgument):
                call()
        self.assertEqual(samples.step, 0)
        del samples
        gc.collect()


if __name__ == "__main__":
    unittest.main()
