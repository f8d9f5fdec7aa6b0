"""How the ranks of a process group find each other: through the store that PyTorch has set up.

Every rank says in the store which host it is on. Rank 0 of the group answers with an address that
all of them can reach and a fresh secret; from there on Shoal's own rendezvous takes over.

Invariant: keys in the store belong to one meeting, also when a store outlives a process group.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import socket
from datetime import timedelta
from typing import Any, Iterator, Optional

import torch.distributed

import shoal
from shoal.torch.group import ProcessGroup

# What the C library takes at most, as seconds; PyTorch's "no timeout" is longer.
_TIMEOUT_MAX = 86400.0
_PLACE_BYTES = 320  # a host name and a port


def create_group(store: Any, rank: int, size: int, timeout: timedelta) -> ProcessGroup:
    """What PyTorch calls on every member of a new process group."""
    seconds = min(timeout.total_seconds(), _TIMEOUT_MAX)
    if size == 1:
        return ProcessGroup(shoal.init(0, 1, timeout=seconds))
    number = store.add(f"shoal/{rank}", 1)
    prefix = f"shoal/{number}/"
    store.set(f"{prefix}{rank}", _host_name())
    if rank == 0:
        store.set(f"{prefix}place", json.dumps(_choose_place(store, prefix, size, timeout)))
    place = json.loads(_get(store, f"{prefix}place", 0, timeout))
    settings = {"SHOAL_SECRET": place["secret"]} if place["secret"] else None
    comm = shoal.init(
        rank,
        size,
        place["address"],
        job=place["job"],
        init_timeout=seconds,
        timeout=seconds,
        settings=settings,
    )
    if rank == 0:
        # Everybody has read it. Some stores cannot delete; then it stays as safe as the store is.
        with contextlib.suppress(RuntimeError, NotImplementedError):
            store.delete_key(f"{prefix}place")
    return ProcessGroup(comm)


def _get(store: Any, key: str, rank: int, timeout: timedelta) -> bytes:
    """A key that a rank sets, or Absent."""
    try:
        store.wait([key], timeout)
        value: bytes = store.get(key)
        return value
    except RuntimeError as error:
        raise shoal.Absent(
            f"rank {rank} did not come to PyTorch's store within {timeout.total_seconds():g} s; "
            f"start it, or see why it ended ({_first_line(error)})"
        ) from None


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


def _choose_place(store: Any, prefix: str, size: int, timeout: timedelta) -> dict[str, str]:
    """Rank 0 serves the rendezvous; where?"""
    hosts = {_get(store, f"{prefix}{rank}", rank, timeout) for rank in range(size)}
    job = f"torch-{secrets.token_hex(8)}"
    # With a secret of the job's own there is none to be left in the store.
    configured = any(os.environ.get(name) for name in ("SHOAL_SECRET", "SHOAL_SECRET_FILE"))
    return {
        "job": job,
        "address": f"@shoal-{job}" if len(hosts) == 1 else _network_address(),
        "secret": "" if configured else secrets.token_urlsafe(32),
    }


def _host_name() -> str:
    """Equal for processes that can meet at a local socket: one kernel, one network namespace."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        return f"{boot}/{os.stat('/proc/self/ns/net').st_ino}"
    except OSError:
        return f"{socket.gethostname()}/{os.getpid()}"


def _network_host() -> str:
    """An address of this host that other hosts reach."""
    host = os.environ.get("SHOAL_ADDRESS") or _route_to(os.environ.get("MASTER_ADDR", ""))
    if host is None:
        # Documentation addresses: nothing is sent, only the default route is looked up.
        host = _route_to("192.0.2.1") or _route_to("2001:db8::1")
    if host is None:
        raise shoal.ConfigError(
            "the ranks are on several hosts, and this one has no address but loopback; set "
            "SHOAL_ADDRESS on it to the address that the others reach it at"
        )
    return host


def _network_address() -> str:
    """Where this host listens for the others, with a port that is free now."""
    host = _network_host()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _route_to(name: str) -> Optional[str]:
    """Our own address on the way to a host, unless it is loopback."""
    if not name:
        return None
    with contextlib.suppress(OSError):
        for family, kind, *_, address in socket.getaddrinfo(name, 9, type=socket.SOCK_DGRAM):
            with contextlib.suppress(OSError), socket.socket(family, kind) as probe:
                probe.connect(address)
                own: str = probe.getsockname()[0].partition("%")[0]
                if not own.startswith(("127.", "::1")):
                    return own
    return None


def rendezvous(
    url: str, timeout: timedelta = timedelta(minutes=30), **_: Any
) -> Iterator[tuple[Any, int, int]]:
    """PyTorch's handler of init_method="shoal://": a store for ranks that no torchrun started.

    The place in the job comes from the launcher's environment; rank 0 serves the store.
    """
    if url.partition("://")[2].partition("?")[0]:
        raise shoal.InvalidArgument(
            f'init_method {url!r} has an address, but the launcher knows it; give "shoal://"'
        )
    with shoal.init() as comm:
        host, port = "", 0
        store: Any = None
        alone = _one_host(comm)
        if comm.rank == 0:
            host = "127.0.0.1" if alone else _network_host()
            store = _open_store(host, 0, comm.size, True, timeout)
            port = store.port
        place = bytearray(f"{host} {port}".encode().ljust(_PLACE_BYTES))
        comm.broadcast(place)
        if store is None:
            host, number = place.decode().split()
            store = _open_store(host, int(number), comm.size, False, timeout)
        rank, size = comm.rank, comm.size
        # Rank 0 stays until everybody has reached its store.
        comm.barrier()
    yield store, rank, size


def _one_host(comm: shoal.Comm) -> bool:
    mine = hashlib.sha256(_host_name().encode()).digest()
    names = bytearray(len(mine) * comm.size)
    comm.allgather(mine, names)
    return names == mine * comm.size


def _open_store(host: str, port: int, size: int, serves: bool, timeout: timedelta) -> Any:
    return torch.distributed.TCPStore(
        host, port, size, serves, timeout=timeout, wait_for_workers=False
    )
