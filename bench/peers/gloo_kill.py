"""A rank that reduces 1 KiB by Gloo for ever and says what becomes of it when another is killed.

Rank, size and meeting place come from RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT.

SPDX-License-Identifier: Apache-2.0
"""

import os
import time

import torch
import torch.distributed as dist


def reduce_forever(values):
    while True:
        values.zero_()
        dist.all_reduce(values)


def said(error):
    return str(error).splitlines()[0].split("] ", 1)[-1]


def main():
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    values = torch.zeros(256)
    dist.all_reduce(values)
    print("rank", dist.get_rank(), os.getpid(), flush=True)
    try:
        reduce_forever(values)
    except RuntimeError as error:
        print(f"error {time.monotonic():.6f}", said(error), flush=True)
    try:  # is anything left of the group?
        dist.all_reduce(values)
        print("goes on", flush=True)
    except RuntimeError as error:
        print("then", said(error), flush=True)
    os._exit(1)


main()
