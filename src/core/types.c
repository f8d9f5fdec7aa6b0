/*
 * Names and sizes of element types, operations and collectives.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <shoal/types.h>

static const struct {
    const char *name;
    size_t bytes;
} dtypes[SHOAL_DTYPE_COUNT] = {
    [SHOAL_I8] = {"i8", 1},   [SHOAL_U8] = {"u8", 1},         [SHOAL_I32] = {"i32", 4},
    [SHOAL_U32] = {"u32", 4}, [SHOAL_I64] = {"i64", 8},       [SHOAL_U64] = {"u64", 8},
    [SHOAL_F16] = {"f16", 2}, [SHOAL_BF16] = {"bf16", 2},     [SHOAL_F32] = {"f32", 4},
    [SHOAL_F64] = {"f64", 8}, [SHOAL_F8E4M3] = {"f8e4m3", 1}, [SHOAL_F8E5M2] = {"f8e5m2", 1},
};

static const char *const op_names[SHOAL_OP_COUNT] = {
    [SHOAL_SUM] = "sum", [SHOAL_PROD] = "prod", [SHOAL_MIN] = "min",
    [SHOAL_MAX] = "max", [SHOAL_AVG] = "avg",
};

static const char *const collective_names[SHOAL_COLLECTIVE_COUNT] = {
    [SHOAL_ALLREDUCE] = "allreduce", [SHOAL_BROADCAST] = "broadcast",
    [SHOAL_REDUCE] = "reduce",       [SHOAL_REDUCE_SCATTER] = "reduce_scatter",
    [SHOAL_ALLGATHER] = "allgather", [SHOAL_BARRIER] = "barrier",
};

/* Callers in other languages may hand in any integer, so the enum's range is not trusted. */
size_t shoal_dtype_bytes(enum shoal_dtype dtype)
{
    return (unsigned)dtype < SHOAL_DTYPE_COUNT ? dtypes[dtype].bytes : 0;
}

const char *shoal_dtype_string(enum shoal_dtype dtype)
{
    return (unsigned)dtype < SHOAL_DTYPE_COUNT ? dtypes[dtype].name : "unknown";
}

const char *shoal_op_string(uint32_t op)
{
    if (op < SHOAL_OP_COUNT)
        return op_names[op];
    return op >= SHOAL_OP_USER_FIRST ? "user" : "unknown";
}

const char *shoal_collective_string(enum shoal_collective which)
{
    return (unsigned)which < SHOAL_COLLECTIVE_COUNT ? collective_names[which] : "unknown";
}
