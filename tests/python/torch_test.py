"""PyTorch CPU tensors, bf16 too. Two ranks.

SPDX-License-Identifier: Apache-2.0
"""

import unittest

import torch

import ranks
import shoal

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
TOTAL = 3


def filled(count=6, dtype=torch.float32):
    return torch.full((count,), ranks.comm.rank + 1, dtype=dtype)


class TorchTest(unittest.TestCase):
    def test_every_type(self):
        for dtype in DTYPES:
            for count in (1, 1000, 100000):
                tensor = filled(count, dtype)
                self.assertIs(ranks.comm.allreduce(tensor), tensor)
                self.assertTrue((tensor == TOTAL).all(), dtype)
                recv = torch.zeros(2 * count, dtype=dtype)
                ranks.comm.allgather(filled(count, dtype), recv)
                self.assertTrue((recv[:count] == 1).all() and (recv[count:] == 2).all())

    def test_bf16_is_summed_as_float32(self):
        values = torch.full((100,), 1 + 2**-7, dtype=torch.bfloat16)
        ranks.comm.allreduce(values)
        self.assertTrue((values == 2 * (1 + 2**-7)).all())

    def test_parameters_and_views(self):
        parameter = torch.nn.Parameter(filled(12).reshape(3, 4))
        ranks.comm.allreduce(parameter)
        self.assertTrue((parameter == TOTAL).all())
        ranks.comm.allreduce(parameter.data[1])
        self.assertEqual(parameter.sum(), 8 * TOTAL + 4 * 2 * TOTAL)
        self.assertTrue((ranks.comm.allreduce(torch.tensor(1.5)) == 3).all())
        self.assertEqual(ranks.comm.allreduce(torch.zeros(0)).numel(), 0)

    def test_by_dlpack(self):
        class OnlyDLPack:
            def __init__(self, tensor):
                self.tensor = tensor

            def __dlpack__(self):
                return self.tensor.__dlpack__()

            def __dlpack_device__(self):
                return self.tensor.__dlpack_device__()

        for dtype in DTYPES:
            tensor = filled(50, dtype)
            ranks.comm.allreduce(OnlyDLPack(tensor))
            self.assertTrue((tensor == TOTAL).all(), dtype)

    def test_memory_from_shoal(self):
        for dtype in ("f32", "bf16", "i64"):
            memory = shoal.empty((10, 20), dtype)
            tensor = memory.torch()
            self.assertEqual(tensor.shape, (10, 20))
            self.assertEqual(tensor.data_ptr(), memory.address)
            tensor.fill_(ranks.comm.rank + 1)
            del memory
            ranks.comm.allreduce(tensor)
            self.assertTrue((tensor == TOTAL).all())
        self.assertEqual(shoal.empty((0, 3)).torch().shape, (0, 3))

    def test_a_tensor_is_pinned_while_in_flight(self):
        request = ranks.comm.allreduce_async(filled(1000))
        request.wait()
        self.assertTrue((request.result == TOTAL).all())

    def test_refused(self):
        grid = torch.zeros(4, 6)
        refusals = (
            (grid.t(), "(6, 4) has strides (1, 6)"),
            (grid[:, ::2], "(4, 3) has strides (6, 2)"),
            (torch.zeros(3, dtype=torch.complex64), "complex64"),
            (torch.zeros(3, dtype=torch.bool), "bool"),
            (torch.zeros(3, dtype=torch.int16), "int16"),
            (grid.to_sparse(), "layout"),
            (torch.zeros(1, dtype=torch.complex64).conj().imag, "negated"),
        )
        for tensor, part in refusals:
            with self.assertRaises(shoal.InvalidArgument) as caught:
                ranks.comm.allreduce(tensor)
            self.assertIn(part, str(caught.exception))
        with self.assertRaisesRegex(shoal.Unsupported, "meta"):
            ranks.comm.allreduce(torch.zeros(3, device="meta"))
        ranks.comm.barrier()

    def test_raw_bits(self):
        tensor = filled(8, torch.bfloat16).view(torch.int16)
        ranks.comm.allreduce(tensor, dtype=torch.bfloat16)
        self.assertTrue((tensor.view(torch.bfloat16) == TOTAL).all())


if __name__ == "__main__":
    ranks.main()
