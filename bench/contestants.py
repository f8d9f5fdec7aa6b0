"""Who takes part in bench/compare: Shoal and the peers found on this machine, locally and across
shaped hosts. Every contestant prints lines "bytes,us", or the CSV of allreduce_bench.

SPDX-License-Identifier: Apache-2.0
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
MPI_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
UCX = ["--mca", "pml", "ucx", "--mca", "opal_common_ucx_tls", "any",
       "--mca", "opal_common_ucx_devices", "any"]


def note(text):
    print(text, file=sys.stderr, flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def parse(output):
    times = {}
    for line in output.splitlines():
        fields = line.split(",")
        if not fields[0].strip().isdigit():
            continue
        # peers: bytes,us; allreduce_bench --csv: the time is the sixth column
        times[int(fields[0])] = float(fields[5] if len(fields) > 2 else fields[1])
    return times


class Contestant:
    """A name, and how to run it over a range of sizes: one command that starts the ranks, or a
    command for each rank, of which `ranks` has (words before the command, environment)."""

    def __init__(self, name, command, env=None, ranks=None):
        self.name, self.command, self.env, self.ranks = name, command, env or {}, ranks or []
        self.prefix = []  # before each command, e.g. chrt
        self.real_time = True  # may have one in front
        self.fresh = dict  # environment that each run has anew
        self.said = ""  # all output

    def run(self, sizes, timeout):
        """{bytes: us}; what could not be measured is missing."""
        command = self.prefix + [part.format(first=sizes[0], last=sizes[1], factor=sizes[2])
                                 for part in self.command]
        env = dict(os.environ, **self.env, **self.fresh())
        errors = subprocess.PIPE
        processes = []
        for number, (before, more) in enumerate(self.ranks or [([], {})]):
            out = subprocess.PIPE if number == 0 else subprocess.DEVNULL
            processes.append(subprocess.Popen(before + command, env=dict(env, **more), stdout=out,
                                              stderr=errors, stdin=subprocess.DEVNULL, text=True))
            errors = subprocess.DEVNULL
        said, error = "", "no end within the time limit"
        try:
            said, error = processes[0].communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            pass
        for process in processes:
            process.kill()
            process.communicate()
        self.said += said
        times = parse(said)
        if not times:
            note(f"  {self.name}: no result: {error.strip()[-300:]}")
        return times


def local_ranks(count):
    return [([], {"RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(count)]


# ---- building peers ----------------------------------------------------------------------------


def build(compiler, source, program, flags=()):
    done = subprocess.run([compiler, "-O2", "-o", program, os.path.join(HERE, "peers", source),
                           *flags], check=False, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        note(f"{source}: cannot build it with {compiler}: {done.stderr.strip()[-200:]}")
        return None
    return program


def build_mpi(compiler, folder):
    """The peer program built with this mpicc, or None."""
    path = shutil.which(compiler)
    return path and build(path, "mpi_peer.c", os.path.join(folder, compiler + "_peer"))


def build_oneccl(folder, prefix):
    """The peer program and the folder of oneCCL's libraries, or None."""
    if not os.path.exists(os.path.join(prefix, "include", "oneapi", "ccl.hpp")):
        note(f"oneCCL is not in {prefix}, so it is not measured (PyPI: pip install oneccl-devel; "
             "name its folder with --oneccl)")
        return None
    libraries = os.path.join(prefix, "lib")
    program = build("g++", "oneccl_peer.cpp", os.path.join(folder, "oneccl_peer"),
                    ["-std=c++17", "-I" + os.path.join(prefix, "include"), "-L" + libraries,
                     "-lccl", "-Wl,--allow-shlib-undefined"])
    return (program, libraries) if program else None


def find_torch():
    """A Python that has torch, or None."""
    for python in ("/usr/bin/python3", sys.executable):
        if subprocess.run([python, "-c", "import torch.distributed"], check=False,
                          stderr=subprocess.DEVNULL).returncode == 0:
            return python
    note("torch is not installed, so Gloo is not measured (Debian: python3-torch)")
    return None


# ---- ranks on this machine ---------------------------------------------------------------------


def open_mpi(scenario, ranks, program, crowded):
    start = ["mpirun.openmpi", "-n", str(ranks), "--oversubscribe"]
    start += ["--bind-to", "none" if crowded else "core"]
    if crowded:
        start += ["--mca", "mpi_yield_when_idle", "1"]
    ob1 = start + ["--mca", "pml", "ob1", "--mca", "btl"]
    tail = [program, "{first}", "{last}", "{factor}"]
    if scenario == "shm":
        return [
            Contestant("ompi-cma", ob1 + ["vader,self"] + tail, MPI_ROOT),
            Contestant("ompi-sm", ob1 + ["vader,self", "--mca", "coll_sm_priority", "95"] + tail,
                       MPI_ROOT),
            Contestant("ompi-ucx", start + UCX + tail, dict(MPI_ROOT, UCX_TLS="posix,cma,self")),
        ]
    return [
        Contestant("ompi-tcp", ob1 + ["tcp,self", "--mca", "btl_tcp_if_include", "lo"] + tail,
                   MPI_ROOT),
        Contestant("ompi-ucxtcp", start + UCX + tail,
                   dict(MPI_ROOT, UCX_TLS="tcp,self", UCX_NET_DEVICES="lo")),
    ]


def mpich(scenario, ranks, program, crowded):
    start = ["mpiexec.mpich", "-n", str(ranks)] + ([] if crowded else ["-bind-to", "core"])
    tail = [program, "{first}", "{last}", "{factor}"]
    if scenario == "shm":
        return [Contestant("mpich", start + tail)]
    return [Contestant("mpich-tcp", start + tail, {"MPIR_CVAR_NOLOCAL": "1",
                                                   "UCX_TLS": "tcp,self", "UCX_NET_DEVICES": "lo"})]


def gloo(ranks, interface="lo", master="127.0.0.1"):
    """Gloo over loopback: the fallback of torch on one host, so it counts in both scenarios."""
    python = find_torch()
    if not python:
        return []
    command = [python, os.path.join(HERE, "peers", "gloo_peer.py"), "{first}", "{last}", "{factor}"]
    one = Contestant("gloo", command, {"WORLD_SIZE": str(len(ranks)), "MASTER_ADDR": master,
                                       "GLOO_SOCKET_IFNAME": interface}, ranks)
    one.fresh = lambda: {"MASTER_PORT": str(free_port())}
    return [one]


def oneccl(scenario, ranks, built, folder, interface="lo"):
    """Without a thread of its own, which would have no core here."""
    program, libraries = built
    env = {"WORLD_SIZE": str(len(ranks)), "LD_LIBRARY_PATH": libraries, "CCL_LOG_LEVEL": "error",
           "CCL_ATL_TRANSPORT": "ofi", "CCL_PROCESS_LAUNCHER": "none", "CCL_WORKER_OFFLOAD": "0",
           "CCL_KVS_IFACE": interface, "FI_PROVIDER_PATH": libraries, "FI_TCP_IFACE": interface}
    local = scenario != "hosts"
    env["CCL_LOCAL_SIZE"] = str(len(ranks) if local else 1)
    env.update({"CCL_ATL_SHM": "1"} if scenario == "shm" else {"FI_PROVIDER": "tcp"})
    placed = [(before, dict(more, CCL_LOCAL_RANK=more["RANK"] if local else "0"))
              for before, more in ranks]
    one = Contestant("oneccl" if scenario == "shm" else "oneccl-tcp",
                     [program, "{first}", "{last}", "{factor}"], env, placed)
    one.fresh = lambda: {"ONECCL_PEER_STORE": os.path.join(folder, "kvs" + secrets.token_hex(8))}
    return [one]


def local_peers(scenario, ranks, folder, crowded, oneccl_prefix):
    peers = []
    for compiler, make in (("mpicc.openmpi", open_mpi), ("mpicc.mpich", mpich)):
        program = build_mpi(compiler, folder)
        if program:
            peers += make(scenario, ranks, program, crowded)
    peers += gloo(local_ranks(ranks))
    built = build_oneccl(folder, oneccl_prefix)
    if built:
        peers += oneccl(scenario, local_ranks(ranks), built, folder)
    return peers


def shoal(build_folder, scenario, ranks, crowded):
    command = [os.path.join(build_folder, "bench", "allreduce_bench"), "--ranks", str(ranks),
               "--csv", "--rotate", "0", "-c", "0", "-b", "{first}", "-e", "{last}",
               "-f", "{factor}"]
    if not crowded:
        command.append("--pin")
    env = {"SHOAL_TRANSPORT": scenario}
    contestants = [Contestant("shoal", command, env)]
    if scenario == "shm":
        contestants.append(Contestant("shoal-shared", command + ["--memory", "shared"], env))
    return contestants


def limit_of(build_folder, scenario, ranks):
    """The floor of an allreduce of two ranks over TCP, from raw sockets, in the same turns."""
    program = os.path.join(build_folder, "bench", "tcp_bound")
    if scenario != "tcp" or ranks != 2 or not os.path.exists(program):
        return []
    return [Contestant("limit", [program, "--limit", "{first}", "{last}", "{factor}"])]


# ---- one rank on each of several shaped hosts --------------------------------------------------


def host_ranks(network):
    return [(network.enter(rank), {"RANK": str(rank), "SHOAL_RANK": str(rank)})
            for rank in range(network.count)]


def shoal_on_hosts(build_folder, network):
    command = [os.path.join(build_folder, "bench", "allreduce_bench"), "--csv", "--rotate", "0",
               "-c", "0", "-w", "1", "-b", "{first}", "-e", "{last}", "-f", "{factor}"]
    env = {"SHOAL_SIZE": str(network.count), "SHOAL_INTERFACE": "eth0", "SHOAL_LOG_LEVEL": "error",
           "SHOAL_RENDEZVOUS": network.address(0) + ":2900"}
    one = Contestant("shoal", command, env, host_ranks(network))
    one.fresh = lambda: {"SHOAL_SECRET": secrets.token_hex(16)}
    return [one]


def mpi_on_hosts(network, folder):
    """Started on the first host; a script takes the place of ssh."""
    agent = network.write_agent(folder)
    hosts = ",".join(network.address(rank) for rank in range(network.count))
    tail = ["{first}", "{last}", "{factor}"]
    ranks = [(network.enter(0), {})]
    contestants = []
    program = build_mpi("mpicc.openmpi", folder)
    if program:
        command = ["mpirun.openmpi", "--host", hosts, "-n", str(network.count), "--bind-to", "none",
                   "--mca", "plm_rsh_agent", agent, "--mca", "oob_tcp_if_include", "eth0",
                   "--mca", "mpi_yield_when_idle", "1", "--mca", "pml", "ob1",
                   "--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", "eth0"]
        contestants.append(Contestant("ompi-tcp", command + [program] + tail, MPI_ROOT, ranks))
    program = build_mpi("mpicc.mpich", folder)
    if program:
        command = ["mpiexec.mpich", "-launcher", "rsh", "-launcher-exec", agent, "-iface", "eth0",
                   "-hosts", hosts, "-n", str(network.count), program] + tail
        env = {"UCX_TLS": "tcp,self", "UCX_NET_DEVICES": "eth0"}
        one = Contestant("mpich-tcp", command, env, ranks)
        one.real_time = False  # it spins: in real-time priority nothing else gets the cores
        contestants.append(one)
    return contestants


def host_peers(network, folder, oneccl_prefix):
    peers = mpi_on_hosts(network, folder)
    peers += gloo(host_ranks(network), "eth0", network.address(0))
    built = build_oneccl(folder, oneccl_prefix)
    if built:
        peers += oneccl("hosts", host_ranks(network), built, folder, "eth0")
    return peers
