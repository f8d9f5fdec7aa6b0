"""Which members hold which virtual shards of state.

    held = shoal.place([(id, host), ...], shards=1024)          # at the beginning
    held = shoal.place(members_now, 1024, holders=held.holders)  # after each change of members

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import array
from typing import Iterable, NamedTuple, Optional

from shoal import _ffi
from shoal.checks import whole
from shoal.context import check
from shoal.errors import InvalidArgument


class Placement(NamedTuple):
    """Who is to hold what."""

    holders: array.array[int]  # ids: replicas + 1 for each shard, its owner first; 0: nobody
    copies: int  # holders that did not hold their shard before, though somebody still does
    lost: int  # shards none of whose holders is left
    owners: int  # shards whose owner changed

    def of(self, shard: int, replicas: int = 1) -> list[int]:
        """The holders of a shard, its owner first."""
        width = replicas + 1
        return [one for one in self.holders[shard * width : (shard + 1) * width] if one]


def place(
    members: Iterable[tuple[int, int]],
    shards: int,
    replicas: int = 1,
    holders: Optional[Iterable[int]] = None,
) -> Placement:
    """Place virtual shards, each with `replicas` copies on other hosts where there are any.

    members  (id, host) of each; ids are not 0, members with equal hosts fail together
    holders  who holds what now, as an earlier placement said, members or not; None: nobody
    """
    whole(shards, "shards", _ffi.PLACE_SHARDS_MAX, least=1)
    whole(replicas, "replicas", _ffi.PLACE_REPLICAS_MAX)
    listed = [(whole(one, "an id"), whole(host, "a host")) for one, host in members]
    entries = shards * (replicas + 1)
    table = array.array("Q", bytes(8 * entries) if holders is None else holders)
    if len(table) != entries:
        raise InvalidArgument(f"holders has {len(table)} entries, not {entries}")
    options = _ffi.PlaceOptions(
        shards=shards,
        replicas=replicas,
        members=_ffi.member_list(listed),
        member_count=len(listed),
    )
    result = _ffi.PlaceResult()
    address = _ffi.writable_address(table)
    check(_ffi.lib.shoal_place(_ffi.byref(options), address, _ffi.byref(result)))
    return Placement(table, result.copies, result.lost, result.owners)
