"""A process group of torch.distributed on a communicator.

The methods have PyTorch's names and take its lists: what torch.distributed.all_reduce(tensor) and
its siblings call. Each starts the operation and returns a Work.

Invariant: the arguments are checked before anything starts, and what is in flight is pinned by its
requests.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

from typing import Any, NoReturn, Optional

import torch.distributed

import shoal
from shoal.torch import tensors as t
from shoal.torch.work import Finish, Keeper, Work


class ProcessGroup(torch.distributed.ProcessGroup):  # type: ignore[misc]
    """What init_process_group("shoal") and new_group() make; `comm` is the communicator."""

    def __init__(self, comm: shoal.Comm) -> None:
        super().__init__(comm.rank, comm.size)
        self.comm = comm
        self._keeper = Keeper()
        self._name = ""
        self._description = ""

    def __del__(self) -> None:
        # PyTorch before 2.0 drops the groups that it destroys.
        if hasattr(self, "_keeper"):
            self.shutdown()

    # ---- the group itself --------------------------------------------------------------------

    def getBackendName(self) -> str:
        return "shoal"

    def getRank(self) -> int:
        return self.comm.rank

    def getSize(self) -> int:
        return self.comm.size

    def setGroupName(self, name: str) -> None:
        self._name = name

    def getGroupName(self) -> str:
        return self._name

    def setGroupDesc(self, description: str) -> None:
        self._description = description

    def getGroupDesc(self) -> str:
        return self._description

    def shutdown(self) -> None:
        """Close the communicator. What is in flight fails."""
        self._keeper.close()
        self.comm.close()

    def abort(self) -> None:
        """Give up what is in flight, on every rank."""
        self.comm.abort("the process group was aborted")

    def _start(
        self,
        name: str,
        requests: list[shoal.Request],
        results: Any,
        finish: Optional[Finish] = None,
    ) -> Work:
        return Work(self._keeper, name, requests, list(results), finish)

    # ---- operations --------------------------------------------------------------------------

    def allreduce(self, tensors: Any, opts: Any = None) -> Work:
        op = opts.reduceOp if opts is not None else torch.distributed.ReduceOp.SUM
        timeout = t.timeout_of(opts)
        sent = [t.reduced(tensor, op, "tensor") for tensor in tensors]
        requests = [self.comm.allreduce_async(s, op=o, timeout=timeout) for s, o in sent]
        return self._start("allreduce", requests, tensors)

    def allreduce_coalesced(self, tensors: Any, opts: Any = None) -> Work:
        return self.allreduce(tensors, opts)

    def broadcast(self, tensors: Any, opts: Any = None) -> Work:
        root = opts.rootRank if opts is not None else 0
        timeout = t.timeout_of(opts)
        sent = [t.moved(tensor, "tensor") for tensor in tensors]
        requests = [self.comm.broadcast_async(s, root, timeout=timeout) for s in sent]
        return self._start("broadcast", requests, tensors)

    def reduce(self, tensors: Any, opts: Any) -> Work:
        timeout = t.timeout_of(opts)
        sent = [t.reduced(tensor, opts.reduceOp, "tensor") for tensor in tensors]
        root = opts.rootRank
        requests = [self.comm.reduce_async(s, None, o, root, timeout=timeout) for s, o in sent]
        return self._start("reduce", requests, tensors)

    def barrier(self, opts: Any = None) -> Work:
        return self._start("barrier", [self.comm.barrier_async(timeout=t.timeout_of(opts))], [])

    # ---- gathering ---------------------------------------------------------------------------

    def allgather(self, outputs: Any, inputs: Any, opts: Any = None) -> Work:
        if len(outputs) != len(inputs):
            raise shoal.InvalidArgument(
                f"there are {len(outputs)} lists of outputs for {len(inputs)} inputs"
            )
        pairs = []
        for blocks, block in zip(outputs, inputs):
            t.check_blocks(blocks, block, self.comm.size, "tensor_list", "tensor")
            pairs.append((t.moved(block, "tensor"), t.room_for(block, self.comm.size)))
        requests = [self._gather(block, whole, opts) for block, whole in pairs]

        def finish() -> None:
            for (_, whole), blocks in zip(pairs, outputs):
                t.hand_out(whole, blocks)

        return self._start("allgather", requests, [b for blocks in outputs for b in blocks], finish)

    def _gather(self, block: Any, whole: Any, opts: Any) -> shoal.Request:
        return self.comm.allgather_async(
            block, t.moved(whole, "output"), timeout=t.timeout_of(opts)
        )

    def allgather_coalesced(self, outputs: Any, inputs: Any, opts: Any = None) -> Work:
        return self.allgather(outputs, inputs, opts)

    def _allgather_base(self, output: Any, input: Any, opts: Any = None) -> Work:
        return self.allgather_into_tensor_coalesced([output], [input], opts)

    def allgather_into_tensor_coalesced(self, outputs: Any, inputs: Any, opts: Any = None) -> Work:
        requests = []
        for whole, block in zip(outputs, inputs):
            t.check_whole(whole, block, self.comm.size, "output", "input")
        pairs = [(t.moved(b, "input"), t.moved(w, "output")) for w, b in zip(outputs, inputs)]
        requests = [self._gather(block, whole, opts) for block, whole in pairs]
        return self._start("allgather", requests, outputs)

    def gather(self, outputs: Any, inputs: Any, opts: Any) -> Work:
        """By an allgather: every rank needs the memory of all blocks."""
        block = t.one(inputs, "gather_list")
        is_root = opts.rootRank == self.comm.rank
        blocks = t.one(outputs, "gather_list") if is_root else []
        if is_root:
            t.check_blocks(blocks, block, self.comm.size, "gather_list", "tensor")
        sent, whole = t.moved(block, "tensor"), t.room_for(block, self.comm.size)
        request = self._gather(sent, whole, opts)
        return self._start("gather", [request], blocks, lambda: t.hand_out(whole, blocks))

    def scatter(self, outputs: Any, inputs: Any, opts: Any) -> Work:
        """By a broadcast: every rank gets all blocks and keeps its own."""
        block = t.one(outputs, "tensor")
        t.moved(block, "tensor")
        whole = t.room_for(block, self.comm.size)
        if opts.rootRank == self.comm.rank:
            blocks = t.one(inputs, "scatter_list")
            t.check_blocks(blocks, block, self.comm.size, "scatter_list", "tensor")
            whole = t.joined(blocks)
        mine = whole[self.comm.rank * block.numel() :][: block.numel()]
        request = self.comm.broadcast_async(
            t.moved(whole, "scatter_list"), opts.rootRank, timeout=t.timeout_of(opts)
        )
        return self._start("scatter", [request], [block], lambda: t.hand_out(mine, [block]))

    # ---- reducing and scattering -------------------------------------------------------------

    def reduce_scatter(self, outputs: Any, inputs: Any, opts: Any = None) -> Work:
        output, blocks = t.one(outputs, "output"), t.one(inputs, "input_list")
        t.check_blocks(blocks, output, self.comm.size, "input_list", "output")
        return self._reduce_scatter_base(output, t.joined(blocks), opts)

    def _reduce_scatter_base(self, output: Any, input: Any, opts: Any = None) -> Work:
        return self.reduce_scatter_tensor_coalesced([output], [input], opts)

    def reduce_scatter_tensor_coalesced(self, outputs: Any, inputs: Any, opts: Any = None) -> Work:
        op = opts.reduceOp if opts is not None else torch.distributed.ReduceOp.SUM
        timeout = t.timeout_of(opts)
        for block, whole in zip(outputs, inputs):
            t.check_whole(whole, block, self.comm.size, "input", "output")
        sent = [t.reduced(whole, op, "input") for whole in inputs]
        received = [t.moved(block, "output") for block in outputs]
        requests = [
            self.comm.reduce_scatter_async(s, block, o, timeout=timeout)
            for (s, o), block in zip(sent, received)
        ]
        return self._start("reduce_scatter", requests, outputs)

    # Names that newer versions of PyTorch prefer.
    all_gather_single = _allgather_base
    all_gather_single_coalesced = allgather_into_tensor_coalesced
    reduce_scatter_single = _reduce_scatter_base
    reduce_scatter_single_coalesced = reduce_scatter_tensor_coalesced

    # ---- not there ---------------------------------------------------------------------------

    def _refuse(self, what: str) -> NoReturn:
        raise NotImplementedError(
            f"the backend shoal has no {what}; for this operation use a group of the backend gloo: "
            'group = torch.distributed.new_group(backend="gloo")'
        )

    def alltoall(self, *_: Any) -> Work:
        self._refuse("all_to_all")

    def alltoall_base(self, *_: Any) -> Work:
        self._refuse("all_to_all_single")

    def send(self, *_: Any) -> Work:
        self._refuse("send")

    def recv(self, *_: Any) -> Work:
        self._refuse("recv")

    def recv_anysource(self, *_: Any) -> Work:
        self._refuse("recv")

    all_to_all_single = alltoall_base
