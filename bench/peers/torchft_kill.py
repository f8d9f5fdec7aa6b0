"""A replica group of one process that averages 1 KiB by torchft over Gloo, and says when it comes
to a committed step again after another one was killed. Rank 0 starts the lighthouse, too.

Usage: torchft_kill.py RANK SIZE PORT

SPDX-License-Identifier: Apache-2.0
"""

import datetime
import os
import subprocess
import sys
import time

import torch
from torch.distributed import TCPStore
from torchft import Manager, ProcessGroupGloo

TIMEOUT = datetime.timedelta(seconds=5)  # torchft's own default is 60


def main():
    rank, size, port = (int(word) for word in sys.argv[1:])
    torch.set_num_threads(1)
    if rank == 0:
        subprocess.Popen([os.path.join(os.path.dirname(sys.executable), "torchft_lighthouse"),
                          "--min_replicas", "1", "--quorum_tick_ms", "10",
                          "--bind", f"127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    manager = Manager(
        pg=ProcessGroupGloo(timeout=TIMEOUT), timeout=TIMEOUT, min_replica_size=1,
        rank=0, world_size=1, store_addr="127.0.0.1", store_port=store.port,
        lighthouse_addr=f"http://127.0.0.1:{port}", hostname="127.0.0.1", replica_id=f"kill_{rank}",
        load_state_dict=lambda state: None, state_dict=lambda: {"none": 0})
    told = False
    while True:
        values = torch.ones(256)
        manager.start_quorum()
        manager.allreduce(values).wait()
        if not manager.should_commit():
            continue
        contributors = manager.num_participants()
        if contributors == size and not told:
            told = True
            print("rank", rank, os.getpid(), flush=True)
        elif told and contributors == size - 1:
            assert abs(float(values[0]) - 1) < 1e-6
            print(f"goes on {time.monotonic():.6f} a step that fails, then a committed one of the "
                  f"{contributors}", flush=True)
            time.sleep(2)  # the others need it for theirs
            os._exit(0)


main()
