"""The C structures, function types and limits of include/shoal/, as ctypes.

A member here has the name, place and type that it has there; tests/python/headers_test.py compares
them. Users take them from _ffi.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import ctypes
import struct
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char_p,
    c_double,
    c_int,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any


class Sized(Structure):
    """One that begins with its own size, so that it can grow; that is filled in here."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.struct_size = ctypes.sizeof(self)


class ContextOptions(Sized):
    """struct shoal_context_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("config_file", c_char_p),
        ("settings", POINTER(c_char_p)),
        ("setting_count", c_size_t),
    ]


class CommOptions(Sized):
    """struct shoal_comm_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("rank", c_uint32),
        ("size", c_uint32),
        ("rendezvous", c_char_p),
        ("job", c_char_p),
        ("init_timeout_ms", c_uint32),
        ("op_timeout_ms", c_uint32),
    ]


class Call(Sized):
    """struct shoal_call. Calls are made with its image, which pack_call fills faster."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("collective", c_int),
        ("dtype", c_int),
        ("op", c_uint32),
        ("root", c_uint32),
        ("count", c_size_t),
        ("send", c_void_p),
        ("recv", c_void_p),
        ("timeout_ms", c_uint32),
    ]


CALL_BYTES = ctypes.sizeof(Call)
CALL_FORMAT = "@NiiIINPPI4x"
# pack_call(CALL_BYTES, collective, dtype, op, root, count, send, recv, timeout_ms) -> bytes
pack_call = struct.Struct(CALL_FORMAT).pack
CallImage = c_char_p

ReduceFunction = CFUNCTYPE(None, c_void_p, c_void_p, c_void_p, c_size_t, c_int, c_void_p)


class OpOptions(Sized):
    """struct shoal_op_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("function", ReduceFunction),
        ("user", c_void_p),
        ("commutes", c_int),
    ]


class PlanInfo(Sized):
    """struct shoal_plan_info"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("algorithm", c_char_p),
        ("transport", c_char_p),
        ("predicted_us", c_double),
        ("bytes_sent", c_uint64),
        ("bytes_reduced", c_uint64),
    ]


class Span(Structure):
    """struct shoal_span"""

    _fields_ = [("first", c_uint64), ("count", c_uint64), ("rank", c_uint64)]


class Layout(Sized):
    """struct shoal_layout"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("kind", c_int),
        ("first_rank", c_uint32),
        ("ranks", c_uint32),
        ("block", c_uint64),
        ("counts", c_void_p),
        ("spans", POINTER(Span)),
        ("span_count", c_size_t),
    ]


class ReshardCall(Sized):
    """struct shoal_reshard_call"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("count", c_uint64),
        ("dtype", c_int),
        ("timeout_ms", c_uint32),
        ("from", POINTER(Layout)),
        ("to", POINTER(Layout)),
        ("send", c_void_p),
        ("recv", c_void_p),
    ]


class Member(Structure):
    """struct shoal_member"""

    _fields_ = [("id", c_uint64), ("host", c_uint64)]


class PlaceOptions(Sized):
    """struct shoal_place_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("shards", c_uint32),
        ("replicas", c_uint32),
        ("members", POINTER(Member)),
        ("member_count", c_uint32),
    ]


class PlaceResult(Sized):
    """struct shoal_place_result"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("copies", c_uint64),
        ("lost", c_uint64),
        ("owners", c_uint64),
    ]


class SamplesOptions(Sized):
    """struct shoal_samples_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("seed", c_uint64),
        ("samples", c_uint64),
        ("batch", c_uint64),
        ("mode", c_int),
        ("shard_lengths", c_void_p),
        ("shard_count", c_size_t),
    ]


class SamplesView(Sized):
    """struct shoal_samples_view"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("rank", c_uint32),
        ("size", c_uint32),
        ("ahead", c_uint64),
    ]


class SamplesShare(Sized):
    """struct shoal_samples_share"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("step", c_uint64),
        ("data_epoch", c_uint64),
        ("count", c_uint64),
        ("total", c_uint64),
    ]


class SamplesInfo(Sized):
    """struct shoal_samples_info"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("step", c_uint64),
        ("data_epoch", c_uint64),
        ("samples", c_uint64),
        ("consumed", c_uint64),
        ("skipped", c_uint64),
        ("skipped_spans", c_uint64),
    ]


StoreRead = CFUNCTYPE(c_int, c_void_p, c_uint32, c_void_p, c_size_t, POINTER(c_size_t))
StoreSwap = CFUNCTYPE(
    c_int, c_void_p, c_uint32, c_void_p, c_size_t, c_void_p, c_size_t, POINTER(c_int)
)


class Store(Sized):
    """struct shoal_store"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("arg", c_void_p),
        ("read", StoreRead),
        ("swap", StoreSwap),
    ]


class WorldOptions(Sized):
    """struct shoal_world_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("store", c_char_p),
        ("job", c_char_p),
        ("world_start", c_uint32),
        ("world_min", c_uint32),
        ("world_max", c_uint32),
        ("step_mode", c_int),
        ("partition", c_int),
        ("join_timeout_ms", c_uint32),
        ("recovery_timeout_ms", c_uint32),
        ("op_timeout_ms", c_uint32),
        ("epoch_floor", c_uint64),
        ("custom_store", ctypes.POINTER(Store)),
        ("catch_up", c_uint32),
    ]


class WorldView(Sized):
    """struct shoal_view"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("epoch", c_uint64),
        ("rank", c_uint32),
        ("size", c_uint32),
        ("joined", c_uint32),
        ("lost", c_uint32),
        ("left", c_uint32),
        ("ended", c_uint32),
        ("step", c_uint64),
        ("position", c_uint64),
    ]


class OpInfo(Sized):
    """struct shoal_op_info"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("seq", c_uint64),
        ("epoch", c_uint64),
        ("contributors", c_uint32),
    ]


class WorldStep(Sized):
    """struct shoal_step"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("step", c_uint64),
        ("position", c_uint64),
        ("epoch", c_uint64),
        ("rank", c_uint32),
        ("size", c_uint32),
        ("joined", c_uint32),
    ]


class StateOptions(Sized):
    """struct shoal_state_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("shards", c_uint32),
        ("replicas", c_uint32),
        ("background", c_uint32),
        ("catch_up_bytes", c_uint64),
    ]


class StateArray(Sized):
    """struct shoal_state_array"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("name", c_char_p),
        ("data", c_void_p),
        ("count", c_uint64),
        ("dtype", c_int),
        ("kind", c_int),
    ]


class StateDivergence(Structure):
    """struct shoal_state_divergence"""

    _fields_ = [("name", c_char_p), ("rank", c_uint32)]


class StateInfo(Sized):
    """struct shoal_state_info"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("settled", c_uint64),
        ("bytes_sent", c_uint64),
        ("bytes_received", c_uint64),
        ("bytes_moved", c_uint64),
        ("settle_ns", c_uint64),
        ("refresh_bytes", c_uint64),
        ("refresh_ns", c_uint64),
        ("bytes_handed", c_uint64),
        ("bad_chunks", c_uint64),
        ("bad_giver", c_uint64),
        ("keep_ns", c_uint64),
        ("step_ns", c_uint64),
        ("caught_up_bytes", c_uint64),
        ("catch_up_ns", c_uint64),
        ("given_bytes", c_uint64),
        ("given_steps", c_uint64),
    ]


class StateRange(Structure):
    """struct shoal_state_range"""

    _fields_ = [("first", c_uint64), ("count", c_uint64)]


class StateLoss(Structure):
    """struct shoal_state_loss"""

    _fields_ = [("name", c_char_p), ("first", c_uint64), ("count", c_uint64)]


PLACE_SHARDS_MAX = 1 << 20
PLACE_REPLICAS_MAX = 7
SAMPLES_SPANS_MAX = 1024
SAMPLES_BYTES_MAX = 64 + 16 * SAMPLES_SPANS_MAX
