"""PyTorch over several hosts: network namespaces joined by shaped links, one rank on each.

Needs root, iproute2 and unshare; exit status 77 says that something is missing.

SPDX-License-Identifier: Apache-2.0
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))
import shaped_hosts  # noqa: E402

HOSTS = 3
PORT = "29571"
# To load PyTorch takes a minute where others keep the machine busy.
PATIENCE_S = 200

PROGRAM = """
import datetime, os, socket
import torch, torch.distributed as dist
import shoal, shoal.torch

dist.init_process_group("shoal", init_method={method!r},
                        timeout=datetime.timedelta(seconds=60))
rank, size = dist.get_rank(), dist.get_world_size()
tensor = torch.full((100000,), rank + 1.0)
dist.all_reduce(tensor)
host = socket.gethostname()
print(f"rank {{rank}} of {{size}} on {{host}}: {{tensor.min():g}} {{tensor.max():g}}")
torch.manual_seed(rank)
network = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(20, 10))
network(torch.rand(4, 20)).sum().backward()
gradients = [torch.zeros(10, 20) for _ in range(size)]
dist.all_gather(gradients, network.module.weight.grad)
print("gradients alike:", all(torch.equal(gradients[0], other) for other in gradients), flush=True)
dist.barrier()
if rank == 1:
    os.kill(os.getpid(), 9)
try:
    dist.all_reduce(tensor)
except shoal.PeerLost as error:
    print(f"rank {{rank}} has: {{error}}", flush=True)
"""


class HostsTest(unittest.TestCase):
    def start(self, network, rank, text, variables):
        place = {"RANK": str(rank), "WORLD_SIZE": str(HOSTS), **variables}
        settings = [f"{name}={value}" for name, value in place.items()]
        output = tempfile.TemporaryFile("w+")
        self.addCleanup(output.close)
        process = subprocess.Popen(
            [*network.enter(rank), "env", *settings, sys.executable, "-c", text],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process, output

    def check(self, method, **variables):
        network = shaped_hosts.Hosts(HOSTS, "1gbit")
        self.addCleanup(network.remove)
        network.build()
        text = PROGRAM.format(method=method)
        variables = {k: v.format(network.address(0)) for k, v in variables.items()}
        jobs = [self.start(network, rank, text, variables) for rank in range(HOSTS)]
        end_s = time.monotonic() + PATIENCE_S
        for rank, (process, output) in enumerate(jobs):
            try:
                status = process.wait(max(0, end_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                status = "not ended in time"
            output.seek(0)
            text = output.read()
            self.assertEqual(status, -9 if rank == 1 else 0, text)
            self.assertIn(f"rank {rank} of {HOSTS} on {network.names[rank]}: 6 6", text)
            self.assertIn("gradients alike: True", text)
            if rank != 1:
                self.assertIn(f"rank {rank} has: ", text)
                self.assertIn("rank 1", text)

    def test_as_torchrun_starts_it(self):
        self.check("env://", MASTER_ADDR="{}", MASTER_PORT=PORT)

    def test_without_torchrun(self):
        self.check("shoal://", MASTER_ADDR="{}", MASTER_PORT=PORT, SHOAL_SECRET="s" * 32)


if __name__ == "__main__":
    missing = [tool for tool in ("ip", "tc", "unshare", "hostname") if not shutil.which(tool)]
    if missing or os.geteuid() != 0:
        print(f"skipped: needs {' '.join(missing) or 'root'}")
        sys.exit(77)
    unittest.main(verbosity=0)
