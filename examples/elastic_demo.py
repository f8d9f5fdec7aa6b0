"""Bad days for digits_elastic.py, on purpose, and what became of them.

    python3 examples/elastic_demo.py --shoal build/tools/shoal

Starts a coordinator and four workers, each under an agent of its own as in a pod. While they train,
one worker is killed, one is stopped, two join, the coordinator is killed and started again, and one
worker is asked to leave. Prints what happened when. What every worker read for a step is written
down before the step may count; in the end that is compared with the steps that were committed, and
the demo fails if a digit was lost or read twice.

SPDX-License-Identifier: Apache-2.0
"""

import argparse
import collections
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
        self.shoal, self.folder = shoal, pathlib.Path(folder)
        self.journal = self.folder / "journal"
        self.enough = self.folder / "enough"  # ends the training
        self.records = self.folder / "records"
        self.records.mkdir()
        self.address = f"127.0.0.1:{free_port()}"
        self.said = queue.Queue()
        self.waiting = collections.deque()  # said, and not heard yet
        self.agents = {}  # by name
        self.workers = {}  # process of the worker, by name of its agent
        self.names = {}  # by member
        self.hit = {}  # when something was done to a worker, by name
        self.coordinator = None
        self.began = time.time()

    def errors(self, name):
        """The file for what a process says when something is wrong."""
        return open(self.folder / f"{name}.stderr", "a", encoding="utf-8")

    def start_coordinator(self):
        command = [self.shoal, "coordinator", "--listen", self.address]
        command += ["--journal", str(self.journal)]
        with self.errors("coordinator") as errors:
            self.coordinator = subprocess.Popen(command, stderr=errors)

    def start_agent(self, name):
        command = [self.shoal, "run", "--join", self.address, "--min", "2", "--max", "8"]
        command += ["--start", "4", "--restarts", "0", "--no-prefix", "--"]
        command += [sys.executable, str(WORKER), "--until", str(self.enough)]
        command += ["--records", str(self.records)]
        with self.errors(name) as errors:
            agent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        self.agents[name] = agent
        threading.Thread(target=self._listen, args=(name, agent), daemon=True).start()

    def _listen(self, name, agent):
        for line in agent.stdout:
            self.said.put((name, json.loads(line)))
        self.said.put((name, {"closed": True, "time": time.time()}))

    def _next(self):
        name, said = self.said.get(timeout=PATIENCE_SECONDS)
        if "began" in said:
            self.workers[name] = said["pid"]
            self.names[said["began"]] = name
        return name, said

    def hear(self):
        return self.waiting.popleft() if self.waiting else self._next()

    def name(self, member):
        """Of its agent; others may speak of a worker before it does."""
        while member not in self.names:
            self.waiting.append(self._next())
        return self.names[member]

    def hurt(self, name, number):
        self.hit[name] = time.time()
        os.kill(self.workers[name], number)

    def tell(self, text, at=None):
        print(f"{(at or time.time()) - self.began:8.3f} s  {text}", flush=True)

    def show_errors(self):
        """The last lines of each process, for whoever has to find out why it failed."""
        for path in sorted(self.folder.glob("*.stderr")):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            print(f"---- {path.stem}, last of {len(lines)} lines:", *lines[-15:], sep="\n")

    def close(self):
        for process in [*self.agents.values(), self.coordinator]:
            process.kill()
            process.wait()


def kill(job):
    job.tell("B is killed")
    job.hurt("B", signal.SIGKILL)


def stop(job):
    job.tell("C is stopped: it does not end, and does not answer")
    job.hurt("C", signal.SIGSTOP)


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
    job.hurt("D", signal.SIGTERM)


def end(job):
    job.enough.touch()


# What is done, and who has to be gone or there before the next.
BAD_DAYS = (
    (kill, "B"),
    (stop, "C"),
    (join, "EF"),
    (restart, ""),
    (leave, "D"),
    (end, ""),
)


def show_change(job, said):
    """A line for a change of who is in; returns the names."""
    gone, joined = ([job.name(member) for member in said[kind]] for kind in ("gone", "joined"))
    what = [f"{name} has left" if name == "D" else f"{name} is lost" for name in gone]
    what += [f"{name} has joined" for name in joined]
    text = f"  step {said['step']}: {', '.join(what)}; {said['members']} members go on"
    text += f"; pause {said['pause_ms']:.0f} ms"
    for name in gone:
        if name != "D":  # who leaves is waited for by nobody
            commit_ms, view_ms = (1000 * (said[k] - job.hit[name]) for k in ("time", "view_at"))
            text += f"; next commit {commit_ms:.0f} ms after that, the view {view_ms:.0f} ms"
    job.tell(text, said["time"])
    return gone + joined


def show_epoch(job, said):
    if said["data_epoch"] % 10 == 0 or said["data_epoch"] == 1:
        text = f"data epoch {said['data_epoch']:3}: loss {said['loss']:.4f}, "
        job.tell(text + f"{said['right']:.2%} right", said["time"])


def watch(job):
    """Until all workers have ended; what those said who came through, and whether all was done."""
    ends, days, due = [], list(BAD_DAYS), CALM
    awaited, ended = set(), 0
    while ended < len(job.agents):
        name, said = job.hear()
        if "data_epoch" in said:
            show_epoch(job, said)
            if awaited:
                due = said["data_epoch"] + CALM
            elif days and said["data_epoch"] >= due:
                act, names = days.pop(0)
                awaited.update(names)
                act(job)
                due = said["data_epoch"] + CALM
        elif "step" in said:
            awaited.difference_update(show_change(job, said))
        elif "got" in said:
            if said["got"]:  # founders have what they began with
                text = f"{said['got'] / 1e3:.0f} kB of state in {said['ms']:.0f} ms"
                job.tell(f"  {name} was sent {text}", said["time"])
        elif "over" in said:
            job.tell(f"  {name} has {said['over']}", said["time"])
        elif "end" in said:
            ends.append(said)
        elif "closed" in said:
            ended += 1
    return ends, not days


# ---- who read what -----------------------------------------------------------------------------


def load_records(folder):
    """By step: what each member read for it; and by whom it was committed."""
    reads, commits = collections.defaultdict(dict), {}
    for path in folder.glob("*.jsonl"):
        lines = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
        for line in lines:
            if "read" in line:
                reads[line["step"]][int(path.stem)] = line
        mine = [line for line in lines if "committed" in line]
        for i, line in enumerate(mine):
            # A worker that died right after a commit may have seen it otherwise than the others.
            if i + 1 < len(mine):
                commits[line["committed"]] = line["by"]
            else:
                commits.setdefault(line["committed"], line["by"])
    return reads, commits


def count_reads(folder, samples, data_epochs):
    """How many digits were read, and how many too few and too many, in so many data epochs of so
    many samples."""
    reads, commits = load_records(folder)
    times = collections.Counter()
    for step, members in commits.items():
        for member in members:
            line = reads[step][member]
            times.update((line["data_epoch"], digit) for digit in line["read"])
    read = sum(times.values())
    wanted = ((epoch, digit) for epoch in range(data_epochs) for digit in range(samples))
    return read, sum(one not in times for one in wanted), read - len(times)


def judge(job, last):
    read, lost, repeated = count_reads(job.records, last["samples"], last["data_epochs"])
    print(f"samples read: {read}; samples lost {lost}, samples repeated {repeated}")
    print(f"held-out digits recognised: {last['accuracy']:.2%}")
    return read > 0 and lost == 0 and repeated == 0


def main():
    parser = argparse.ArgumentParser(description="an elastic job with bad days")
    parser.add_argument("--shoal", default="shoal", help="the program (default: from PATH)")
    given = parser.parse_args()
    passed = False
    with tempfile.TemporaryDirectory() as folder:
        job = Job(given.shoal, folder)
        try:
            job.start_coordinator()
            for name in "ABCD":
                job.start_agent(name)
            job.tell("a coordinator and the workers A, B, C and D are started")
            ends, all_done = watch(job)
            passed = all_done and ends and judge(job, ends[0])
        except queue.Empty:
            job.tell(f"nobody has said anything for {PATIENCE_SECONDS} s")
        finally:
            job.close()
            if not passed:
                job.show_errors()
    sys.exit(0 if passed else "it did not go as it should")


if __name__ == "__main__":
    main()
