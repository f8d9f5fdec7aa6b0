"""Which objects are buffers, that their own memory is used, and what is refused. Two ranks.

SPDX-License-Identifier: Apache-2.0
"""

import array
import ctypes
import gc
import mmap
import sys
import unittest
import weakref

import numpy

import ranks
import shoal
from shoal import buffers


class OnlyDLPack:
    """An array that shows itself by DLPack alone; `version` is what it was asked for."""

    def __init__(self, values):
        self.values = values

    def __dlpack_device__(self):
        return (1, 0)

    def __dlpack__(self):
        return self.values.__dlpack__()


class OnlyInterface:
    def __init__(self, values, **changes):
        self.__array_interface__ = {**values.__array_interface__, **changes}
        self.values = values


class ManagedVersioned(ctypes.Structure):
    """DLManagedTensorVersioned for one dimension, as dlpack.h has it."""

    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class VersionedDLPack:
    """DLPack 1.x of a one-dimensional array; any field can be set to something else."""

    NAME = b"dltensor_versioned"

    def __init__(self, values, **changes):
        self.values = values
        self.length = (ctypes.c_int64 * 1)(len(values))
        fields = {
            "major": 1,
            "data": values.ctypes.data,
            "device_type": 1,
            "ndim": 1,
            "code": {"i": 0, "u": 1, "f": 2}[values.dtype.kind],
            "bits": values.itemsize * 8,
            "lanes": 1,
            "shape": self.length,
        }
        self.managed = ManagedVersioned(**{**fields, **changes})

    def __dlpack__(self, max_version=None):
        assert max_version == (1, 0)
        new = ctypes.pythonapi.PyCapsule_New
        new.restype = ctypes.py_object
        new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return new(ctypes.addressof(self.managed), self.NAME, None)


def filled(count=6, dtype="f4"):
    return numpy.full(count, ranks.comm.rank + 1, dtype=dtype)


TOTAL = 3  # of rank + 1, on two ranks


class AcceptedTest(unittest.TestCase):
    def check_in_place(self, values, buffer, **options):
        """The sum appears in `values`, which is the memory behind `buffer`."""
        self.assertIs(ranks.comm.allreduce(buffer, **options), buffer)
        self.assertEqual(numpy.asarray(values).ravel().tolist(), [TOTAL] * len(values))

    def test_numpy(self):
        for dtype in ("i1", "u1", "i4", "u4", "i8", "u8", "f2", "f4", "f8"):
            values = filled(dtype=dtype)
            self.check_in_place(values, values)

    def test_parts_of_numpy_arrays(self):
        whole = numpy.zeros((4, 6), dtype="f4")
        whole[2] = filled()
        self.check_in_place(whole[2], whole[2])
        self.assertEqual(whole.sum(), TOTAL * 6)
        self.check_in_place(numpy.zeros(0), numpy.zeros(0))
        scalar = numpy.array(ranks.comm.rank + 1.0)
        ranks.comm.allreduce(scalar)
        self.assertEqual(scalar, TOTAL)

    def test_dlpack(self):
        for dtype in ("i1", "u1", "i4", "u4", "i8", "u8", "f2", "f4", "f8"):
            values = filled(dtype=dtype)
            self.check_in_place(values, OnlyDLPack(values))

    def test_versioned_dlpack(self):
        values = filled()
        self.check_in_place(values, VersionedDLPack(values))
        values = filled(7)
        address = values.ctypes.data - 4
        self.check_in_place(values, VersionedDLPack(values, data=address, byte_offset=4))

    def test_array_interface(self):
        for dtype in ("i1", "u1", "i4", "u4", "i8", "u8", "f2", "f4", "f8"):
            values = filled(dtype=dtype)
            self.check_in_place(values, OnlyInterface(values))
        values = filled()
        self.check_in_place(values, OnlyInterface(values, data=memoryview(values)))
        grid = filled(6).reshape(2, 3)
        ranks.comm.allreduce(OnlyInterface(grid, strides=(12, 4)))
        self.assertTrue((grid == TOTAL).all())

    def test_buffer_protocol(self):
        values = filled()
        self.check_in_place(values, memoryview(values))
        for code in "bBiIlLqQfd":
            values = array.array(code, [ranks.comm.rank + 1] * 5)
            self.check_in_place(values, values)
        values = bytearray([ranks.comm.rank + 1] * 4)
        self.check_in_place(values, values)
        for kind in (ctypes.c_float, ctypes.c_double, ctypes.c_int32, ctypes.c_uint64):
            values = (kind * 5)(*[ranks.comm.rank + 1] * 5)
            ranks.comm.allreduce(values)
            self.assertEqual(list(values), [TOTAL] * 5)

    def test_mapped_file_memory(self):
        with mmap.mmap(-1, 4096) as mapped:
            mapped[:4] = bytes([ranks.comm.rank + 1] * 4)
            ranks.comm.allreduce(mapped)
            self.assertEqual(mapped[:5], bytes([TOTAL] * 4 + [0]))

    def test_bytes_can_be_sent(self):
        recv = bytearray(8)
        ranks.comm.allgather(bytes([ranks.comm.rank + 1] * 4), recv)
        self.assertEqual(recv, bytes([1] * 4 + [2] * 4))
        ranks.comm.broadcast(recv, 1, send=b"from one" if ranks.comm.rank == 1 else None)
        self.assertEqual(recv, b"from one")
        buffer = b"constant" if ranks.comm.rank == 0 else bytearray(8)
        self.assertEqual(ranks.comm.broadcast(buffer, 0), b"constant")

    def test_read_only_can_be_sent(self):
        values = filled()
        values.flags.writeable = False
        for send in (values, OnlyInterface(values), memoryview(values)):
            recv = numpy.zeros(6, dtype="f4")
            ranks.comm.allreduce(send, recv)
            self.assertEqual(recv.tolist(), [TOTAL] * 6)
            self.assertEqual(values.tolist(), [ranks.comm.rank + 1] * 6)
        recv = numpy.zeros(6, dtype="f4")
        ranks.comm.allreduce(VersionedDLPack(filled(), flags=1), recv)
        self.assertEqual(recv.tolist(), [TOTAL] * 6)

    def test_types_given_for_plain_memory(self):
        one, two, three = 0x3F80, 0x4000, 0x4040  # 1, 2 and 3 in bf16
        mine = one if ranks.comm.rank == 0 else two
        for values in (
            numpy.full(4, mine, dtype="u2"),
            numpy.full(4, mine, dtype="i2"),
            numpy.full(4, mine, dtype="u2").view("V2"),
            array.array("H", [mine] * 4),
            bytearray(mine.to_bytes(2, sys.byteorder) * 4),
            OnlyDLPack(numpy.full(4, mine, dtype="u2")),
            OnlyInterface(numpy.full(4, mine, dtype="u2").view("V2")),
        ):
            ranks.comm.allreduce(values, dtype="bf16")
            raw = getattr(values, "values", values)
            bits = numpy.frombuffer(memoryview(raw).cast("B"), dtype="u2")
            self.assertEqual(bits.tolist(), [three] * 4, type(values))
        floats = bytearray(filled(4))
        ranks.comm.allreduce(floats, dtype="float32")
        self.assertEqual(numpy.frombuffer(floats, "f4").tolist(), [TOTAL] * 4)

    def test_names_of_types(self):
        names = ("f32", "float32", "F32", numpy.float32, numpy.dtype("f4"), shoal.DType.F32)
        for name in names:
            self.assertIs(buffers.as_dtype(name), shoal.DType.F32)

    def test_memory_is_pinned_until_the_operation_is_over(self):
        values = bytearray(8)
        request = ranks.comm.allreduce_async(values)
        if ranks.comm.rank == 0 and not request.test():
            with self.assertRaises(BufferError):
                values.append(0)  # would move it
        ranks.comm.barrier()
        request.wait()
        values.append(0)

    def test_memory_is_let_go_after_the_operation(self):
        for wrap in (lambda v: v, OnlyDLPack, OnlyInterface):
            values = filled()
            gone = weakref.ref(values)
            request = ranks.comm.allreduce_async(wrap(values))
            request.wait()
            request.result = None
            del values
            gc.collect()
            self.assertIsNone(gone())


class RefusedTest(unittest.TestCase):
    """Nothing of this reaches C, so the ranks stay in step."""

    def refused(self, *parts, error=shoal.InvalidArgument):
        context = self.assertRaises(error)
        self.addCleanup(self.assert_in_step)
        test = self

        class Check:
            def __enter__(self):
                context.__enter__()

            def __exit__(self, *given):
                handled = context.__exit__(*given)
                for part in parts:
                    test.assertIn(part, str(context.exception))
                return handled

        return Check()

    def assert_in_step(self):
        values = filled()
        ranks.comm.allreduce(values)
        self.assertEqual(values.tolist(), [TOTAL] * 6)

    def test_strides(self):
        grid = numpy.zeros((4, 6), dtype="f4")
        with self.refused("(4, 3)", "(24, 8)", "contiguous"):
            ranks.comm.allreduce(grid[:, ::2])
        with self.refused("(6, 4)", "(4, 24)"):
            ranks.comm.allreduce(grid.T)
        with self.refused("(4, 3)", "(24, 8)"):
            ranks.comm.allreduce(OnlyInterface(grid[:, ::2]))
        with self.refused("(4, 3)", "(6, 2)"):
            ranks.comm.allreduce(OnlyDLPack(grid[:, ::2]))
        with self.refused("(3,)", "(2,)"):
            ranks.comm.allreduce(memoryview(bytearray(6))[::2])
        with self.refused("(6,)", "(-4,)"):
            ranks.comm.allreduce(numpy.zeros(6, dtype="f4")[::-1])

    def test_read_only(self):
        values = filled()
        values.flags.writeable = False
        for recv in (values, OnlyInterface(values), memoryview(values), bytes(values)):
            dtype = "f32" if isinstance(recv, bytes) else None
            with self.refused("send is read-only"):
                ranks.comm.allreduce(recv, dtype=dtype)
            with self.refused("recv is read-only"):
                ranks.comm.allreduce(filled(), recv, dtype=dtype)
        with self.refused("read-only"):
            ranks.comm.allreduce(VersionedDLPack(filled(), flags=1))

    def test_types(self):
        for dtype in ("bool", "i2", "u2", "c8", "f16", "M8[s]", "S4", "O"):
            with self.refused("send holds", "supported are i8 u8"):
                ranks.comm.allreduce(numpy.zeros(3, dtype=dtype))
        swapped = numpy.zeros(3, dtype=numpy.dtype("f4").newbyteorder())
        with self.refused("byte order"):
            ranks.comm.allreduce(swapped)
        with self.refused("byte order"):
            ranks.comm.allreduce(OnlyInterface(swapped))
        with self.refused("format '?'"):
            ranks.comm.allreduce(memoryview(bytearray(4)).cast("?"))
        with self.refused("format 'h'"):
            ranks.comm.allreduce(array.array("h", [1]))
        with self.refused("'complex64' is not supported"):
            ranks.comm.allreduce(bytearray(8), dtype="complex64")
        with self.refused("DLPack type 5 of 64 bits"):
            ranks.comm.allreduce(VersionedDLPack(filled(), code=5, bits=64))
        with self.refused("4 lanes"):
            ranks.comm.allreduce(VersionedDLPack(filled(), lanes=4))

    def test_types_that_contradict(self):
        with self.refused("holds float32", "dtype=f64"):
            ranks.comm.allreduce(filled(), dtype="f64")
        with self.refused("holds uint16", "dtype=f32"):
            ranks.comm.allreduce(numpy.zeros(4, dtype="u2"), dtype="f32")
        with self.refused("7 bytes"):
            ranks.comm.allreduce(bytearray(7), dtype="bf16")
        with self.refused("send holds f32, but recv holds f64"):
            ranks.comm.allreduce(filled(), filled(dtype="f8"))

    def test_sizes(self):
        with self.refused("6 elements", "recv 5"):
            ranks.comm.allreduce(filled(6), filled(5))
        with self.refused("6 elements", "recv 6", "send must have 2 times as many as recv"):
            ranks.comm.reduce_scatter(filled(6), filled(6))
        with self.refused("6 elements", "recv 6", "recv must have 2 times as many as send"):
            ranks.comm.allgather(filled(6), filled(6))
        with self.refused("7 elements", "2 ranks"):
            ranks.comm.reduce_scatter(filled(7))
        with self.refused("7 elements", "2 ranks"):
            ranks.comm.allgather(None, filled(7))

    def test_roots(self):
        for root in (2, -1, "x", 0.5, None):
            with self.refused(f"root {root!r} is no rank below 2"):
                ranks.comm.broadcast(filled(), root)

    def test_things_that_are_no_buffer(self):
        for thing in (3, "text", [1.0, 2.0], None, object()):
            with self.refused("buffer protocol"):
                ranks.comm.allreduce(thing)
        with self.refused("recv is a builtins.list"):
            ranks.comm.allreduce(filled(), [1.0])

    def test_overlap(self):
        values = filled(8)
        with self.refused("overlap"):
            ranks.comm.allreduce(values[:6], values[2:])

    def test_other_devices(self):
        class OnDevice(OnlyDLPack):
            def __dlpack_device__(self):
                return (2, 0)

        with self.refused("device (2, 0)", error=shoal.Unsupported):
            ranks.comm.allreduce(OnDevice(filled()))
        with self.refused("device type 2", error=shoal.Unsupported):
            ranks.comm.allreduce(VersionedDLPack(filled(), device_type=2))

    def test_capsules_that_cannot_be_read(self):
        with self.assertRaisesRegex(ValueError, "version 2"):
            ranks.comm.allreduce(VersionedDLPack(filled(), major=2))
        other = VersionedDLPack(filled())
        other.NAME = b"used_dltensor_versioned"
        with self.assertRaisesRegex(ValueError, "unused DLPack capsule"):
            ranks.comm.allreduce(other)

    def test_operations_and_roots(self):
        with self.refused("'median' is unknown", "sum prod min max avg"):
            ranks.comm.allreduce(filled(), op="median")
        with self.refused("op 77 is unknown"):
            ranks.comm.allreduce(filled(), op=77)
        for root in (2, -1):
            with self.refused(f"root {root}"):
                ranks.comm.broadcast(filled(), root)
            with self.refused(f"root {root}"):
                ranks.comm.reduce(filled(), root=root)

    def test_timeouts(self):
        for timeout in (0, -1, float("nan"), 1e9):
            with self.refused("timeout is"):
                ranks.comm.allreduce(filled(), timeout=timeout)


if __name__ == "__main__":
    ranks.main()
