"""Bad days for digits_elastic.py, on purpose, and what became of them.

    python3 examples/elastic_demo.py --shoal build/tools/shoal

Starts a coordinator and four workers, each under an agent of its own as in a pod. While they train,
one worker is killed, one is stopped, two join, the coordinator is killed and started again, and one
worker is asked to leave. Prints what happened when, and fails if a digit was lost or read twice.

SPDX-License-Identifier: Apache-2.0
"""

import argparse
import json
import os
import pathlib
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

WORKER = pathlib.Path(__file__).with_name("digits_elastic.py")
CALM = 10  # data epochs between two bad days
PATIENCE_SECONDS = 120


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Job:
    """The processes, and one queue of what the workers say."""

    def __init__(self, shoal, folder):
        self.shoal = shoal
        self.journal = pathlib.Path(folder) / "journal"
        self.enough = pathlib.Path(folder) / "enough"  # ends the training
        self.address = f"127.0.0.1:{free_port()}"
        self.said = queue.Queue()
        self.agents = {}  # by name
        self.workers = {}  # process of the worker, by name of its agent
        self.coordinator = None
        self.began = time.time()

    def start_coordinator(self):
        command = [self.shoal, "coordinator", "--listen", self.address]
        command += ["--journal", str(self.journal)]
        self.coordinator = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def start_agent(self, name):
        command = [self.shoal, "run", "--join", self.address, "--min", "2", "--max", "8"]
        command += ["--start", "4", "--restarts", "0", "--no-prefix", "--"]
        command += [sys.executable, str(WORKER), "--until", str(self.enough)]
        agent = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.agents[name] = agent
        threading.Thread(target=self._listen, args=(name, agent), daemon=True).start()

    def _listen(self, name, agent):
        for line in agent.stdout:
            self.said.put((name, json.loads(line)))
        self.said.put((name, {"closed": True, "time": time.time()}))

    def hear(self):
        name, said = self.said.get(timeout=PATIENCE_SECONDS)
        if "began" in said:
            self.workers[name] = said["pid"]
        return name, said

    def tell(self, text, at=None):
        print(f"{(at or time.time()) - self.began:8.3f} s  {text}", flush=True)

    def close(self):
        for process in [*self.agents.values(), self.coordinator]:
            process.kill()
            process.wait()


def kill(job):
    job.tell("B is killed")
    os.kill(job.workers["B"], signal.SIGKILL)


def stop(job):
    job.tell("C is stopped: it does not end, and does not answer")
    os.kill(job.workers["C"], signal.SIGSTOP)


def join(job):
    job.tell("E and F are started")
    job.start_agent("E")
    job.start_agent("F")


def restart(job):
    job.coordinator.kill()
    job.coordinator.wait()
    job.start_coordinator()
    job.tell("the coordinator is killed, and started again with its journal")


def leave(job):
    job.tell("D is told to end, by SIGTERM")
    os.kill(job.workers["D"], signal.SIGTERM)


def end(job):
    job.enough.touch()


# What is done, and how many changes of each kind have to be seen before the next.
BAD_DAYS = (
    (kill, {"lost": 1}),
    (stop, {"lost": 2}),
    (join, {"joined": 2}),
    (restart, {}),
    (leave, {"left": 1}),
    (end, {}),
)


def show_change(job, said):
    """A line for a change of who is in."""
    what = [f"{said[kind]} {kind}" for kind in ("lost", "left", "joined") if said[kind]]
    moved = f", {said['moved'] / 1e3:.0f} kB of state moved" if said["joined"] else ""
    job.tell(
        f"  step {said['step']}: {' and '.join(what)}, {said['members']} members go "
        f"on; {said['pause_ms']:.0f} ms from the commit before to this one{moved}",
        said["time"],
    )


def watch(job):
    """Until all workers have ended; what those said who were there from beginning to end."""
    ends, seen = [], {"lost": 0, "left": 0, "joined": 0}
    days, wanted, due = list(BAD_DAYS), {}, CALM
    ended = 0
    while ended < len(job.agents):
        name, said = job.hear()
        if "data_epoch" in said:
            if said["data_epoch"] % 10 == 0 or said["data_epoch"] == 1:
                text = f"data epoch {said['data_epoch']:3}: loss {said['loss']:.4f}, "
                job.tell(text + f"{said['right']:.2%} right", said["time"])
            if any(seen[kind] < count for kind, count in wanted.items()):
                due = said["data_epoch"] + CALM
            elif days and said["data_epoch"] >= due:
                act, wanted = days.pop(0)
                act(job)
                due = said["data_epoch"] + CALM
        elif "step" in said:
            show_change(job, said)
            for kind in seen:
                seen[kind] += said[kind]
        elif "gone" in said:
            job.tell(f"  {name} has {said['gone']}", said["time"])
        elif "end" in said:
            ends.append(said)
        elif "closed" in said:
            ended += 1
    return ends, not days


def main():
    parser = argparse.ArgumentParser(description="an elastic job with bad days")
    parser.add_argument("--shoal", default="shoal", help="the program (default: from PATH)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        job = Job(given.shoal, folder)
        try:
            job.start_coordinator()
            for name in "ABCD":
                job.start_agent(name)
            job.tell("a coordinator and the workers A, B, C and D are started")
            ends, all_done = watch(job)
        finally:
            job.close()
    if not ends:
        sys.exit("no worker came through to the end")
    last = ends[0]
    print(f"digits read: {last['read']}, lost {last['lost']}, repeated {last['repeated']}")
    print(f"held-out digits recognised: {last['accuracy']:.2%}")
    passed = all_done and not any(end["lost"] or end["repeated"] for end in ends)
    sys.exit(0 if passed else "it did not go as it should")


if __name__ == "__main__":
    main()
