"""Jobs of PyTorch programs: how they start, and how they end when a rank dies or never comes.

SPDX-License-Identifier: Apache-2.0
"""

import os
import socket
import subprocess
import sys
import tempfile
import unittest

PROGRAM = """
import datetime, os, sys
import torch, torch.distributed as dist
import shoal, shoal.torch

dist.init_process_group("shoal", timeout=datetime.timedelta(seconds=120))
rank, size = dist.get_rank(), dist.get_world_size()
"""
SUM = """
tensor = torch.ones(5)
dist.all_reduce(tensor)
print(f"rank {rank} of {size}: {tensor.sum():g}", flush=True)
dist.destroy_process_group()
"""
# Rank 1 dies in the middle of a job; the others wait for it in what `fails` does.
KILLED = """
tensor = torch.ones(1000000)
dist.all_reduce(tensor)
{prepare}
if rank == 1:
    os.kill(os.getpid(), 9)
try:
    {fails}
except {error} as error:
    print(f"rank {{rank}} has: {{error}}", flush=True)
"""
NETWORK = """
layers = (torch.nn.Linear(100, 100) for _ in range(5))
network = torch.nn.parallel.DistributedDataParallel(torch.nn.Sequential(*layers))
"""
# To load PyTorch takes a minute where others keep the machine busy.
PATIENCE_S = 200


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Job:
    """Ranks started as torchrun would, each writing to a file."""

    def __init__(self, test, text, size, **variables):
        port = str(free_port())
        self.outputs = [tempfile.TemporaryFile("w+") for _ in range(size)]
        self.processes = []
        for rank in range(size):
            environment = {
                **os.environ,
                "RANK": str(rank),
                "WORLD_SIZE": str(size),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                **variables,
            }
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", text],
                    env=environment,
                    stdout=self.outputs[rank],
                    stderr=subprocess.STDOUT,
                )
            )
        test.addCleanup(self.end)

    def wait(self, rank):
        """Exit status and output of a rank."""
        status = self.processes[rank].wait(PATIENCE_S)
        self.outputs[rank].seek(0)
        return status, self.outputs[rank].read()

    def end(self):
        for process, output in zip(self.processes, self.outputs):
            process.kill()
            process.wait()
            output.close()


class StartTest(unittest.TestCase):
    def test_env(self):
        job = Job(self, PROGRAM + SUM, 2)
        for rank in range(2):
            status, text = job.wait(rank)
            self.assertEqual(status, 0, text)
            self.assertIn(f"rank {rank} of 2: 10", text)

    def test_a_secret_of_the_job(self):
        status, text = Job(self, PROGRAM + SUM, 2, SHOAL_SECRET="s" * 32).wait(0)
        self.assertEqual(status, 0, text)

    def test_torchrun(self):
        with tempfile.NamedTemporaryFile("w", suffix=".py") as program:
            program.write(PROGRAM + SUM)
            program.flush()
            command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
            # Without the last two, PyTorch 1.13 fails under Python 3.11.
            command += ["--master_port", str(free_port()), "--redirects", "1", "--tee", "1"]
            done = subprocess.run(
                [*command, program.name],
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
            )
        self.assertEqual(done.returncode, 0, done.stderr)
        for rank in range(2):
            self.assertIn(f"rank {rank} of 2: 10", done.stdout)


class EndTest(unittest.TestCase):
    def check_killed(self, prepare, fails, error, *parts):
        text = KILLED.format(prepare=prepare, fails=fails, error=error)
        job = Job(self, PROGRAM + text, 3)
        self.assertEqual(job.wait(1)[0], -9)
        for rank in (0, 2):
            status, text = job.wait(rank)
            self.assertEqual(status, 0, text)
            for part in (f"rank {rank} has: ", "rank 1", *parts):
                self.assertIn(part, text)

    def test_killed_before_a_call(self):
        self.check_killed("", "dist.all_reduce(tensor)", "shoal.PeerLost")

    def test_killed_while_training(self):
        train = "network(torch.ones(2, 100)).sum().backward()"
        self.check_killed(NETWORK, train, "RuntimeError", "PeerLost")

    def test_a_rank_that_never_comes(self):
        with tempfile.TemporaryDirectory() as folder:
            text = f"""
import datetime, shoal.torch
import torch.distributed as dist
dist.init_process_group("shoal", init_method="file://{folder}/store", rank=0, world_size=2,
                        timeout=datetime.timedelta(seconds=1))
"""
            status, text = Job(self, text, 1).wait(0)
        self.assertEqual(status, 1)
        self.assertIn("Absent: rank 1 did not come to PyTorch's store within 1 s", text)

    def test_a_bad_setting(self):
        job = Job(self, PROGRAM + SUM, 2, SHOAL_TRANSPORT="pigeon")
        for rank in range(2):
            status, text = job.wait(rank)
            self.assertEqual(status, 1)
            self.assertIn("pigeon", text)


if __name__ == "__main__":
    unittest.main(verbosity=0)
