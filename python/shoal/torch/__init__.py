"""Shoal as a backend of torch.distributed, for tensors in host memory.

    import shoal.torch
    import torch.distributed

    torch.distributed.init_process_group("shoal")

Importing this registers the backend; from then on everything that torch.distributed does with a
process group, DistributedDataParallel included, goes through Shoal. Programs that torchrun starts
need no more than that. `init_method="shoal://"` takes the place in the job from whatever launcher
Shoal knows: `shoal run`, mpirun, Slurm, MPIJob.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import inspect

import torch.distributed

from shoal.torch.data import Batch, StepLoader, StepSampler, WorldLoader
from shoal.torch.group import ProcessGroup
from shoal.torch.meeting import create_group, rendezvous
from shoal.torch.work import Work

__all__ = ["BACKEND", "Batch", "ProcessGroup", "StepLoader", "StepSampler", "Work", "WorldLoader"]

BACKEND = "shoal"


def _register() -> None:
    register = torch.distributed.Backend.register_backend
    # Since PyTorch 2.0 a backend says which devices it serves.
    devices = {"devices": ["cpu"]} if "devices" in inspect.signature(register).parameters else {}
    register(BACKEND, create_group, **devices)
    torch.distributed.register_rendezvous_handler(BACKEND, rendezvous)


_register()
