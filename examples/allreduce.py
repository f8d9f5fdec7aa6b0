"""The smallest whole program, shown in the README: shoal run -n 4 -- python3 examples/allreduce.py

SPDX-License-Identifier: Apache-2.0
"""

import numpy
import shoal

with shoal.init() as comm:
    mine = numpy.full(3, comm.rank, dtype="float32")
    total = comm.allreduce(mine, numpy.empty_like(mine))
    print(f"rank {comm.rank}: the sum of all ranks is {total[0]:g}")
