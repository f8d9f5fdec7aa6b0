/*
 * Vector kernels of one dtype and op; included once for each through reduce_ops.inc.h.
 *
 * Parameters: K_NAME(stem), K_COMBINE(acc, acc), K_ACC, K_WIDEN(vec), K_NARROW(acc), K_ELEM_BYTES,
 * K_UNROLL vectors a step, K_FLOAT (1 when the floating-point environment matters), K_FEW (1 to
 * have loops of their own for three and four inputs).
 *
 * Invariant: every input byte is read once and every output byte written once, except that the
 * first and the last vector of a run may overlap their neighbours. Those two are computed before
 * anything is stored and stored last, so outputs may be inputs.
 *
 * Offsets are bytes. Inputs are read at `from` + at, outputs written at `at`.
 *
 * SPDX-License-Identifier: Apache-2.0
 */

/* `unroll` vectors starting at `at`, each input in turn. */
SIMD_INLINE void K_NAME(step)(char *const *outs, size_t out_count, const char *const *x, size_t n,
                              size_t from, size_t at, size_t unroll, size_t cached)
{
    K_ACC acc[K_UNROLL];
    vec r[K_UNROLL];

    SIMD_UNROLL
    for (size_t u = 0; u < unroll; u++)
        acc[u] = K_WIDEN(vec_load(x[0] + from + at + u * VEC_BYTES));
    for (size_t j = 1; j < n; j++) {
        const char *next = x[j] + from + at;
        SIMD_UNROLL
        for (size_t u = 0; u < unroll; u++)
            acc[u] = K_COMBINE(acc[u], K_WIDEN(vec_load(next + u * VEC_BYTES)));
    }
    SIMD_UNROLL
    for (size_t u = 0; u < unroll; u++)
        r[u] = K_NARROW(acc[u]);
    for (size_t k = 0; k < out_count; k++) {
        char *out = outs[k] + at;
        SIMD_UNROLL
        for (size_t u = 0; u < unroll; u++) {
            if (k >= cached)
                vec_stream(out + u * VEC_BYTES, r[u]);
            else
                vec_store(out + u * VEC_BYTES, r[u]);
        }
    }
}

/* The result of one vector's worth of elements at `at`. Ends of runs are rare enough for a call. */
static __attribute__((noinline)) vec K_NAME(fold)(const char *const *x, size_t n, size_t at)
{
    K_ACC acc = K_WIDEN(vec_load(x[0] + at));

    for (size_t j = 1; j < n; j++)
        acc = K_COMBINE(acc, K_WIDEN(vec_load(x[j] + at)));
    return K_NARROW(acc);
}

/* Fewer bytes than a vector. */
static __attribute__((noinline)) void K_NAME(part)(char *const *outs, size_t out_count,
                                                   const char *const *x, size_t n, size_t from,
                                                   size_t bytes)
{
    if (bytes == 0)
        return;
    K_ACC acc = K_WIDEN(vec_load_part(x[0] + from, bytes));
    for (size_t j = 1; j < n; j++)
        acc = K_COMBINE(acc, K_WIDEN(vec_load_part(x[j] + from, bytes)));
    vec r = K_NARROW(acc);
    for (size_t k = 0; k < out_count; k++)
        vec_store_part(outs[k], r, bytes);
}

/* Outputs from number `cached` on get streaming stores. Where there are such, all outputs lie alike
 * in their cache lines, whole elements precede the first line's start, and there are
 * SIMD_ALIGN_FROM bytes or more. */
SIMD_INLINE void K_NAME(run)(char *const *outs, size_t out_count, const char *const *x, size_t n,
                             size_t from, size_t bytes, size_t cached)
{
    const bool stream = cached < out_count;
    if (bytes < VEC_BYTES) {
        K_NAME(part)(outs, out_count, x, n, from, bytes);
        return;
    }
    size_t peel = bytes < SIMD_ALIGN_FROM
                      ? 0
                      : simd_peel(outs[0], stream ? SIMD_LINE : VEC_BYTES, K_ELEM_BYTES);
    const size_t first = peel % VEC_BYTES;
    const size_t end = bytes - (bytes - first) % VEC_BYTES;
    size_t at = first;
    vec head = {0}, tail = {0};

    if (first != 0)
        head = K_NAME(fold)(x, n, from);
    if (end != bytes)
        tail = K_NAME(fold)(x, n, from + bytes - VEC_BYTES);
    if (stream)
        for (; at < peel; at += VEC_BYTES)
            K_NAME(step)(outs, out_count, x, n, from, at, 1, ALL_CACHED);
    for (; end - at >= K_UNROLL * VEC_BYTES; at += K_UNROLL * VEC_BYTES)
        K_NAME(step)(outs, out_count, x, n, from, at, K_UNROLL, cached);
    for (; K_UNROLL > 1 && at < end; at += VEC_BYTES)
        K_NAME(step)(outs, out_count, x, n, from, at, 1, ALL_CACHED);
    for (size_t k = 0; k < out_count; k++) {
        if (first != 0)
            vec_store(outs[k], head);
        if (end != bytes)
            vec_store(outs[k] + bytes - VEC_BYTES, tail);
    }
}

/* Any number of inputs and outputs: one copy of the code for the less frequent forms. */
static __attribute__((noinline)) void K_NAME(any)(char *const *outs, size_t out_count,
                                                  const char *const *x, size_t n, size_t from,
                                                  size_t bytes, size_t cached)
{
    K_NAME(run)(outs, out_count, x, n, from, bytes, cached);
}

static void K_NAME(two)(void *out, const void *a, const void *b, size_t count)
{
    char *const outs[1] = {out};
    const char *const x[2] = {a, b};
    uint64_t env = K_FLOAT ? shl_fpenv_enter() : 0;

    K_NAME(run)(outs, 1, x, 2, 0, count * K_ELEM_BYTES, ALL_CACHED);
    if (K_FLOAT)
        shl_fpenv_leave(env);
}

/* The inputs' addresses stay in registers when their number is known. Beyond four, and where
 * conversions outweigh that (not K_FEW), they are read anew at every step. */
static void K_NAME(many)(void *out, const void *const *inputs, size_t n, size_t count)
{
    const char *const *x = (const char *const *)inputs;
    char *const outs[1] = {out};
    const size_t bytes = count * K_ELEM_BYTES;

    if (n == 1) {
        push_copy(outs, 1, x[0], bytes, ALL_CACHED);
        return;
    }
    if (n == 2) {
        K_NAME(two)(out, x[0], x[1], count);
        return;
    }
    uint64_t env = K_FLOAT ? shl_fpenv_enter() : 0;
    if (K_FEW && n == 3) {
        const char *const x3[3] = {x[0], x[1], x[2]};
        K_NAME(run)(outs, 1, x3, 3, 0, bytes, ALL_CACHED);
    } else if (K_FEW && n == 4) {
        const char *const x4[4] = {x[0], x[1], x[2], x[3]};
        K_NAME(run)(outs, 1, x4, 4, 0, bytes, ALL_CACHED);
    } else {
        K_NAME(any)(outs, 1, x, n, 0, bytes, ALL_CACHED);
    }
    if (K_FLOAT)
        shl_fpenv_leave(env);
}

/* Outputs that lie differently in their lines get streaming stores too: results pass through the
 * first-level cache on their way. */
static void K_NAME(push)(void *const *outputs, size_t out_count, const void *const *inputs,
                         size_t n, size_t count, size_t cached)
{
    char *const *outs = (char *const *)outputs;
    const char *const *x = (const char *const *)inputs;
    const size_t bytes = count * K_ELEM_BYTES;
    const bool stream = cached < out_count && VEC_STREAMS && bytes >= SIMD_ALIGN_FROM;

    cached = stream ? cached : ALL_CACHED;
    if (n == 1) {
        push_copy(outs, out_count, x[0], bytes, cached);
        return;
    }
    uint64_t env = K_FLOAT ? shl_fpenv_enter() : 0;
    if (!stream || outs_alike(outs, out_count, K_ELEM_BYTES)) {
        K_NAME(any)(outs, out_count, x, n, 0, bytes, cached);
    } else {
        char block[SIMD_BLOCK_BYTES] __attribute__((aligned(SIMD_LINE)));
        char *const to_block[1] = {block};
        for (size_t from = 0; from < bytes; from += sizeof(block)) {
            size_t some = bytes - from < sizeof(block) ? bytes - from : sizeof(block);
            K_NAME(any)(to_block, 1, x, n, from, some, ALL_CACHED);
            for (size_t k = 0; k < out_count; k++)
                copy_one(outs[k] + from, block, some, k >= cached);
        }
    }
    if (stream)
        vec_fence();
    if (K_FLOAT)
        shl_fpenv_leave(env);
}
