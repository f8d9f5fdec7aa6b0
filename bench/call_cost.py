"""What it costs to call Shoal from Python: microseconds for each way in, best of several rounds.

    shoal run -n 1 -- python3 bench/call_cost.py     # processor time: only the way in counts
    shoal run -n 2 -- python3 bench/call_cost.py     # elapsed time, with the other rank

SPDX-License-Identifier: Apache-2.0
"""

import argparse
import time

import numpy
import shoal
from shoal import _ffi


def measure(function, calls, rounds, clock):
    best = float("inf")
    for _ in range(rounds):
        start = clock()
        for _ in range(calls):
            function()
        best = min(best, (clock() - start) / calls)
    return best * 1e6


def ways(comm):
    """What is called, by name."""
    one, two = numpy.zeros(2, dtype="f4"), numpy.zeros(2, dtype="f4")
    direct = shoal.empty(2, "f32")
    handle, address = comm.handle, one.ctypes.data
    allreduce = _ffi.lib.shoal_allreduce
    yield "shoal_allreduce through ctypes", lambda: allreduce(handle, address, address, 2, 8, 0)
    yield "comm.barrier()", comm.barrier
    yield "comm.allreduce, shoal.empty", lambda: comm.allreduce(direct)
    yield "comm.allreduce, numpy in place", lambda: comm.allreduce(one)
    yield "comm.allreduce, numpy", lambda: comm.allreduce(one, two)
    yield "comm.allreduce_async and wait", lambda: comm.allreduce_async(one).wait()
    try:
        import torch
    except ImportError:
        return
    tensor = torch.zeros(2)
    yield "comm.allreduce, torch in place", lambda: comm.allreduce(tensor)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=10000)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    with shoal.init() as comm:
        clock = time.process_time if comm.size == 1 else time.perf_counter
        for name, function in ways(comm):
            took = measure(function, given.calls, given.rounds, clock)
            if comm.rank == 0:
                print(f"{name:34} {took:8.2f} us", flush=True)


if __name__ == "__main__":
    main()
