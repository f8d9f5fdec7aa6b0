#!/usr/bin/env python3
"""What becomes of four local ranks in a loop of allreduces when one of them gets SIGKILL: with
Shoal, and with the peers found on this machine. Prints a table in Markdown.

Usage: compare_kill.py BUILD_FOLDER [--rounds N] [--torchft PYTHON] [--pccl PROGRAM]

torchft is not in Debian: python3 -m venv F && F/bin/pip install torchft==0.2.0 torch==2.9.1, 7 GB,
and --torchft F/bin/python. With torch 2.7.1 no process group of torchft 0.2.0 comes up. Nor is
PCCL: build its repository without CUDA, and peers/pccl_kill.c with what came out of it.

SPDX-License-Identifier: Apache-2.0
"""

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
RANKS, VICTIM = 4, 2
PATIENCE_S = 20  # who has not ended or said anything by then hangs
MPI_ENV = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


class Job:
    """Processes and the lines that they print, each with its time."""

    def __init__(self, commands):
        self.lines, self.processes = [], []
        for command, env in commands:
            self.processes.append(subprocess.Popen(
                command, env=dict(os.environ, **env), stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, start_new_session=True))
        for process in self.processes:
            threading.Thread(target=self.read, args=(process,), daemon=True).start()

    def read(self, process):
        for line in process.stdout:
            self.lines.append(line.strip())

    def pids(self):
        """Of the ranks, once all have said them; None when they do not."""
        end = time.monotonic() + 120
        while time.monotonic() < end:
            found = dict(re.findall(r"rank (\d+) (\d+)", "\n".join(self.lines)))
            if len(found) == RANKS:
                return {int(rank): int(pid) for rank, pid in found.items()}
            if all(process.poll() is not None for process in self.processes):
                return None
            time.sleep(0.01)
        return None

    def wait(self, but):
        """When the last process but the killed one ended; None: not in time."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if all(p.poll() is not None for p in self.processes if p.pid != but):
                return time.monotonic()
            time.sleep(0.001)
        return None

    def close(self):
        for process in self.processes:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()


def one_round(commands):
    """(what happened, seconds, what was said)"""
    job = Job(commands)
    try:
        pids = job.pids()
        if not pids:
            return "does not start", None, next((x for x in job.lines if "rror" in x), "")
        time.sleep(1)
        os.kill(pids[VICTIM], signal.SIGKILL)
        killed = time.monotonic()
        ended = job.wait(pids[VICTIM])
        time.sleep(0.1)  # for what the readers still have
        errors = [re.match(r"error (\d+\.\d+) (.*)", line) for line in job.lines]
        errors = [match for match in errors if match]
        went_on = re.findall(r"goes on (\d+\.\d+) (.*)", "\n".join(job.lines))
        if len(went_on) == RANKS - 1:
            return max(said for _, said in went_on), \
                max(float(when) for when, _ in went_on) - killed, ""
        if errors:
            last = max(float(match[1]) for match in errors)
            return f"an error on {len(errors)} of {RANKS - 1}", last - killed, errors[0][2]
        if ended is None:
            return "hangs", None, ""
        return "all ranks are ended", ended - killed, ""
    finally:
        job.close()


def open_mpi(folder, *options):
    program = os.path.join(folder, "mpi_kill")
    subprocess.run(["mpicc", "-O2", "-o", program, f"{HERE}/peers/mpi_kill.c"], check=True)
    return [(["mpirun", "--oversubscribe", *options, "-np", str(RANKS), program], MPI_ENV)]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def gloo():
    port = free_port()
    return [(["/usr/bin/python3", f"{HERE}/peers/gloo_kill.py"],
             {"RANK": str(rank), "WORLD_SIZE": str(RANKS), "MASTER_ADDR": "127.0.0.1",
              "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}) for rank in range(RANKS)]


def torchft(python):
    port = free_port()
    return [([python, f"{HERE}/peers/torchft_kill.py", str(rank), str(RANKS), port], {})
            for rank in range(RANKS)]


def pccl(program):
    port = free_port()
    return [([program, str(rank), str(RANKS), port], {}) for rank in range(RANKS)]


def shoal(build, transport, rounds):
    """Kill to next right result on all survivors, by recovery_bench."""
    out = subprocess.run([f"{build}/bench/recovery_bench", f"{build}/tools/shoal", str(RANKS),
                          str(rounds), "1024"], env=dict(os.environ, SHOAL_TRANSPORT=transport),
                         capture_output=True, text=True, check=True).stdout
    times = re.search(r"killed to next result.* p50 +(\S+) .* max +(\S+) ms", out)
    return f"| Shoal, {transport} | a right sum of the 3, which go on in their processes | " \
           f"{times[1]} ms, at most {times[2]} ({rounds} kills) |"


def table(build, rounds, torchft_python, pccl_program):
    yield "| 4 local ranks, one killed | what the others see | after |\n|---|---|---|"
    for transport in ("shm", "tcp"):
        yield shoal(build, transport, 10 * rounds)
    with tempfile.TemporaryDirectory() as folder:
        peers = []
        if shutil.which("mpirun") and shutil.which("mpicc"):
            peers += [("Open MPI", lambda: open_mpi(folder)),
                      ("Open MPI `--with-ft ulfm`", lambda: open_mpi(folder, "--with-ft", "ulfm"))]
        if subprocess.run(["/usr/bin/python3", "-c", "import torch"],
                          capture_output=True, check=False).returncode == 0:
            peers.append(("Gloo (torch.distributed)", gloo))
        if torchft_python:
            peers.append(("torchft, time-outs of 5 s", lambda: torchft(torchft_python)))
        if pccl_program:
            peers.append(("PCCL", lambda: pccl(pccl_program)))
        for name, commands in peers:
            results = [one_round(commands()) for _ in range(rounds)]
            kinds = ", ".join(sorted({kind for kind, _, _ in results}))
            times = sorted(seconds * 1e3 for _, seconds, _ in results if seconds is not None)
            said = results[-1][2]
            after = f"{times[len(times) // 2]:.1f} ms, at most {times[-1]:.1f} ({rounds} kills)" \
                if times else "-"
            yield f"| {name} | {kinds}{': ' + said if said else ''} | {after} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--torchft", metavar="PYTHON", help="one that has torchft")
    parser.add_argument("--pccl", metavar="PROGRAM", help="pccl_kill")
    options = parser.parse_args()
    for row in table(options.build, options.rounds, options.torchft, options.pccl):
        print(row)
        sys.stdout.flush()


main()
