"""Memory from the library: its views, its life, its use in operations. Two ranks.

SPDX-License-Identifier: Apache-2.0
"""

import gc
import unittest

import numpy

import ranks
import shoal


class MemoryTest(unittest.TestCase):
    def test_views_show_the_same_memory(self):
        memory = shoal.empty((3, 4), "f32")
        self.assertEqual((memory.shape, memory.size, memory.nbytes), ((3, 4), 12, 48))
        self.assertEqual(memory.address % 4096, 0)
        array, view = memory.numpy(), memory.view()
        self.assertEqual((array.shape, array.dtype), ((3, 4), numpy.dtype("f4")))
        self.assertEqual((view.format, view.shape), ("f", (12,)))
        self.assertTrue((array == 0).all())
        array[1, 2] = 7
        self.assertEqual(view[6], 7)
        view[0] = 3
        self.assertEqual(numpy.asarray(memory)[0, 0], 3)
        self.assertEqual(array.ctypes.data, memory.address)
        self.assertIn("shape=(3, 4), dtype=f32", repr(memory))

    def test_types(self):
        for dtype in shoal.DType:
            memory = shoal.empty(5, dtype)
            self.assertEqual(memory.nbytes, 5 * dtype.itemsize)
            self.assertEqual(memory.numpy().itemsize, dtype.itemsize)
            self.assertEqual(len(memory.view()), 5)
            # The memory knows its type, where numpy shows only bits.
            ranks.comm.allreduce(memory, op="max")
            self.assertEqual(bytes(memory.view()), bytes(memory.nbytes))
        with self.assertRaisesRegex(shoal.InvalidArgument, "dtype=f64"):
            ranks.comm.allreduce(shoal.empty(5), dtype="f64")

    def test_odd_shapes(self):
        self.assertEqual(shoal.empty(0).numpy().tolist(), [])
        self.assertEqual(shoal.empty(()).numpy().shape, ())
        self.assertEqual(len(shoal.empty((2, 0), "i8").view()), 0)
        with self.assertRaisesRegex(shoal.InvalidArgument, "negative"):
            shoal.empty(-1)
        with self.assertRaises(shoal.ShoalError):
            shoal.empty(1 << 60)

    def test_operations(self):
        for count in (1, 1000, 300000):
            send, recv = shoal.empty(count, "f64"), shoal.empty(count, "f64")
            send.numpy()[:] = ranks.comm.rank + 1
            self.assertIs(ranks.comm.allreduce(send, recv), recv)
            self.assertTrue((recv.numpy() == 3).all())
            ranks.comm.allreduce(send.numpy(), op="max")
            self.assertTrue((send.numpy() == 2).all())

    def test_it_lives_as_long_as_its_views(self):
        with shoal.Context() as context:
            for show in (lambda m: m.numpy(), lambda m: m.view(), numpy.asarray):
                shown = show(shoal.empty(1000, "u8", context))
                gc.collect()
                with self.assertRaises(shoal.Busy):
                    context.close()
                shown[:] = 9 if isinstance(shown, numpy.ndarray) else bytes([9]) * 1000
                self.assertEqual(int(shown[999]), 9)
                del shown
                gc.collect()

    def test_contexts(self):
        context = shoal.Context(settings={"SHOAL_SPIN_US": 10, "SHOAL_INSECURE": False})
        comm = shoal.init(0, 1, context=context)
        with self.assertRaisesRegex(shoal.Busy, "1 communicators"):
            context.close()
        comm.close()
        context.close()
        context.close()
        with self.assertRaisesRegex(shoal.InvalidArgument, "closed"):
            shoal.empty(3, context=context)
        with self.assertRaisesRegex(shoal.ConfigError, "SHOAL_TIMEOUT_MS"):
            shoal.Context(settings={"SHOAL_TIMEOUT_MSEC": 1})
        with self.assertRaisesRegex(shoal.ConfigError, "no/such/file"):
            shoal.Context(config_file="/no/such/file")

    def test_registration(self):
        values = numpy.full(5000, ranks.comm.rank + 1.0)
        with shoal.register(values) as registration:
            ranks.comm.allreduce(values)
            self.assertTrue((values == 3).all())
            with self.assertRaisesRegex(shoal.InvalidArgument, "overlaps"):
                shoal.register(values[10:])
        registration.close()
        shoal.register(values).close()
        dropped = shoal.register(values)
        del dropped
        gc.collect()
        shoal.register(values).close()


if __name__ == "__main__":
    ranks.main()
