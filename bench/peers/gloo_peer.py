"""Gloo's allreduce through torch.distributed, timed by the rules of allreduce_bench.

Rank, size and meeting place come from RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT. In place, since
torch offers nothing else. Prints "bytes,us" lines on rank 0.

SPDX-License-Identifier: Apache-2.0
"""

import sys
import time

import torch
import torch.distributed as dist

TARGET_US = 200000.0
WARMUPS = 5


def loop(tensor, iterations):
    dist.barrier()
    start = time.perf_counter()
    for _ in range(iterations):
        dist.all_reduce(tensor)
    return (time.perf_counter() - start) * 1e6 / iterations


def combine(value, op):
    box = torch.tensor([value], dtype=torch.float64)
    dist.all_reduce(box, op=op)
    return box.item()


def main():
    first, last, factor = (int(text) for text in sys.argv[1:4])
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    size = dist.get_world_size()
    count = first
    while count <= last:
        tensor = torch.zeros(count // 4, dtype=torch.float32)
        loop(tensor, WARMUPS)
        most = combine(loop(tensor, 3), dist.ReduceOp.MAX)
        iterations = int(min(max(TARGET_US / max(most, 0.1), 5), 100000))
        mean = combine(loop(tensor, iterations), dist.ReduceOp.SUM) / size
        if dist.get_rank() == 0:
            print(f"{count},{mean:.4f}", flush=True)
        count *= factor
    dist.destroy_process_group()


main()
