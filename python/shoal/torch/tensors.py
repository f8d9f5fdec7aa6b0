"""From PyTorch's tensors and reductions to what the C library knows.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

from typing import Any, Optional

import torch
from torch.distributed import ReduceOp

import shoal

# Types that can only be moved, and truth values, travel as bytes.
_REDUCED = {
    getattr(torch, name)
    for name in (
        "int8 uint8 int32 uint32 int64 uint64 float16 bfloat16 float32 float64 float8_e4m3fn "
        "float8_e5m2"
    ).split()
    if hasattr(torch, name)
}
_OPS = {"SUM": "sum", "AVG": "avg", "MIN": "min", "MAX": "max", "PRODUCT": "prod"}
# On truth values, which are bytes of 0 and 1.
_BOOL_OPS = {"SUM": "max", "MAX": "max", "BOR": "max", "PRODUCT": "min", "MIN": "min"}
_BOOL_OPS["BAND"] = "min"
_OTHER_OPS = ("BAND", "BOR", "BXOR", "PREMUL_SUM")


def moved(tensor: Any, role: str) -> Any:
    """A tensor that is moved but not reduced: any type will do."""
    _check(tensor, role)
    tensor = tensor.detach()
    return tensor if tensor.dtype in _REDUCED else _as_bytes(tensor)


def reduced(tensor: Any, op: Any, role: str) -> tuple[Any, str]:
    """A tensor that is reduced, and by what."""
    _check(tensor, role)
    tensor = tensor.detach()
    if tensor.dtype is torch.bool:
        return _as_bytes(tensor), _find_op(op, _BOOL_OPS, "truth values")
    if tensor.dtype not in _REDUCED:
        known = " ".join(sorted(str(dtype).rpartition(".")[2] for dtype in _REDUCED))
        raise shoal.InvalidArgument(
            f"{role} holds {tensor.dtype}, which cannot be reduced; convert it to one of {known}"
        )
    return tensor, _find_op(op, _OPS, "numbers")


def _find_op(op: Any, known: dict[str, str], what: str) -> str:
    for theirs, ours in known.items():
        if op == getattr(ReduceOp, theirs):
            return ours
    name = next((n for n in (*_OPS, *_OTHER_OPS) if op == getattr(ReduceOp, n)), str(op))
    remedy = (
        "multiply the tensor first, then use SUM"
        if name == "PREMUL_SUM"
        else f"use one of {' '.join(known)}, or a group of the backend gloo"
    )
    raise shoal.Unsupported(f"{name} of {what} is not supported by the backend shoal; {remedy}")


def _check(tensor: Any, role: str) -> None:
    if not isinstance(tensor, torch.Tensor):
        raise shoal.InvalidArgument(f"{role} is a {type(tensor).__name__}, not a tensor")
    if tensor.is_sparse or tensor.layout is not torch.strided:
        raise shoal.InvalidArgument(
            f"{role} is a tensor of layout {tensor.layout}; make it dense with to_dense()"
        )
    if tensor.device.type != "cpu":
        raise shoal.Unsupported(
            f"{role} is a tensor on {tensor.device}; the backend shoal has CPU tensors only: move "
            "it with .cpu()"
        )
    if not tensor.is_contiguous():
        raise shoal.InvalidArgument(
            f"{role} of shape {tuple(tensor.shape)} has strides {tensor.stride()}, which are not "
            "contiguous; pass tensor.contiguous()"
        )
    if tensor.is_conj() or tensor.is_neg():
        raise shoal.InvalidArgument(
            f"{role} is a lazily conjugated or negated view; pass "
            "tensor.resolve_conj().resolve_neg()"
        )


def _as_bytes(tensor: Any) -> Any:
    return tensor.reshape(-1).view(torch.uint8)


def one(tensors: Any, role: str) -> Any:
    """PyTorch gives lists, for the days of several devices a process."""
    if len(tensors) != 1:
        raise shoal.InvalidArgument(f"{role} has {len(tensors)} entries; give one for each process")
    return tensors[0]


def check_blocks(blocks: Any, like: Any, size: int, role: str, like_role: str) -> None:
    """A list with a tensor for each rank, all as large as another one."""
    if len(blocks) != size:
        raise shoal.InvalidArgument(f"{role} has {len(blocks)} tensors; {size} ranks need as many")
    for rank, block in enumerate(blocks):
        if block.numel() != like.numel() or block.dtype != like.dtype:
            raise shoal.InvalidArgument(
                f"{role}[{rank}] has {block.numel()} elements of {block.dtype}, but {like_role} "
                f"{like.numel()} of {like.dtype}; they must be equal"
            )


def check_whole(whole: Any, block: Any, size: int, role: str, block_role: str) -> None:
    """A tensor of a block for each rank."""
    if whole.numel() != size * block.numel() or whole.dtype != block.dtype:
        raise shoal.InvalidArgument(
            f"{role} has {whole.numel()} elements of {whole.dtype}, but {block_role} of {size} "
            f"ranks {size} times {block.numel()} of {block.dtype}; they must be equal"
        )


def joined(blocks: Any) -> Any:
    """The blocks behind each other."""
    return torch.cat([block.detach().reshape(-1) for block in blocks])


def room_for(block: Any, size: int) -> Any:
    """Memory for as many blocks."""
    return torch.empty(size * block.numel(), dtype=block.dtype)


def hand_out(whole: Any, blocks: Any) -> None:
    """The parts of a joined tensor into the blocks."""
    start = 0
    with torch.no_grad():
        for block in blocks:
            part = whole[start : start + block.numel()]
            block.copy_(part.view(block.shape))
            start += block.numel()


def timeout_of(opts: Optional[Any]) -> Optional[float]:
    """Seconds that the options of a call give; None: the process group's."""
    timeout = getattr(opts, "timeout", None)
    seconds = timeout.total_seconds() if timeout is not None else 0.0
    return seconds if seconds > 0 else None
