"""shoal.init(): from a launcher's environment, or from explicit places, to a communicator.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import os
from typing import Optional

from shoal import _ffi
from shoal.checks import U32_MAX, whole
from shoal.comm import Comm
from shoal.context import Context, Settings, check, default_context, milliseconds
from shoal.errors import InvalidArgument
from shoal.interrupt import run_interruptibly

# Any of these means that a launcher started this process (src/elastic/launch_env.c).
LAUNCHER_VARIABLES = (
    "SHOAL_RANK",
    "SHOAL_SIZE",
    "RANK",
    "OMPI_COMM_WORLD_RANK",
    "PMI_RANK",
    "SLURM_PROCID",
)


def init(
    rank: Optional[int] = None,
    size: Optional[int] = None,
    rendezvous: Optional[str] = None,
    *,
    job: Optional[str] = None,
    init_timeout: Optional[float] = None,
    timeout: Optional[float] = None,
    settings: Optional[Settings] = None,
    config_file: Optional[str] = None,
    context: Optional[Context] = None,
) -> Comm:
    """Meet the other ranks of the job and return the communicator of all.

    Without rank and size, the place in the job comes from the environment of `shoal run`, torchrun,
    mpirun, Slurm, MPIJob or PyTorchJob; a process that no launcher started is a job of its own.

    rendezvous    "host:port" or "[v6]:port", which rank 0 serves; None: SHOAL_RENDEZVOUS
    init_timeout  seconds to wait for all ranks; None: SHOAL_INIT_TIMEOUT_MS
    timeout       seconds for each operation; None: SHOAL_TIMEOUT_MS
    settings, config_file   for a context of its own; see Context
    Raises Absent, which lists the ranks that did not come, AuthError, VersionError, ConfigError
    """
    if (rank is None) != (size is None):
        raise InvalidArgument("give both rank and size, or neither")
    if settings is not None or config_file is not None or context is None:
        if context is not None:
            raise InvalidArgument("settings and config_file belong to the context; give either")
        own = settings is not None or config_file is not None
        context = Context(config_file, settings) if own else default_context()
    explicit = {
        "rendezvous": rendezvous,
        "job": job,
        "init_timeout": init_timeout,
        "timeout": timeout,
    }
    given = [name for name, value in explicit.items() if value is not None]
    if rank is None and _launched(config_file):
        if given:
            raise InvalidArgument(
                f"{' and '.join(given)} can only be given with rank and size; a launcher's "
                "environment is followed as it is, see SHOAL_RENDEZVOUS, SHOAL_JOB, "
                "SHOAL_INIT_TIMEOUT_MS and SHOAL_TIMEOUT_MS"
            )
        return _create(context, None)
    options = _ffi.CommOptions(
        rank=whole(rank or 0, "rank", U32_MAX),
        size=whole(1 if size is None else size, "size", U32_MAX),
        rendezvous=rendezvous.encode() if rendezvous is not None else None,
        job=job.encode() if job is not None else None,
        init_timeout_ms=milliseconds(init_timeout, "init_timeout"),
        op_timeout_ms=milliseconds(timeout, "timeout"),
    )
    return _create(context, options)


def _launched(config_file: Optional[str]) -> bool:
    # A file of settings may have the rank, too; the C library knows.
    if config_file is not None or os.environ.get("SHOAL_CONFIG_FILE"):
        return True
    return any(os.environ.get(name) for name in LAUNCHER_VARIABLES)


def _create(context: Context, options: Optional[_ffi.CommOptions]) -> Comm:
    def create() -> Comm:
        handle = _ffi.new_handle()
        if options is None:
            check(_ffi.lib.shoal_comm_create_from_env(context.handle, _ffi.byref(handle)))
        else:
            status = _ffi.lib.shoal_comm_create(
                context.handle, _ffi.byref(options), _ffi.byref(handle)
            )
            check(status)
        assert handle.value is not None
        return Comm(handle.value, context)

    return run_interruptibly(create)
