/*
 * Division of one float dtype by a number; included once for each by reduce_dtypes.inc.h.
 *
 * Parameters: K_DTYPE, K_ACC, K_WIDEN, K_NARROW, K_ELEM_BYTES as in reduce_kernel.inc.h, K_DIVIDE
 * and K_SPLAT, which fills a K_ACC with the divisor. Undefines the last two.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
static void K_SCALE_NAME(K_DTYPE)(void *out_, const void *in_, size_t count, double divisor)
{
    char *out = out_;
    const char *in = in_;
    const size_t bytes = count * K_ELEM_BYTES;
    uint64_t env = shl_fpenv_enter();
    const K_ACC by = K_SPLAT(divisor);

    if (bytes >= VEC_BYTES) {
        /* The last vector overlaps the one before it, and may be in place: read it first. */
        vec tail = vec_load(in + bytes - VEC_BYTES);
        for (size_t at = 0; bytes - at >= VEC_BYTES; at += VEC_BYTES)
            vec_store(out + at, K_NARROW(K_DIVIDE(K_WIDEN(vec_load(in + at)), by)));
        vec_store(out + bytes - VEC_BYTES, K_NARROW(K_DIVIDE(K_WIDEN(tail), by)));
    } else if (bytes > 0) {
        vec part = vec_load_part(in, bytes);
        vec_store_part(out, K_NARROW(K_DIVIDE(K_WIDEN(part), by)), bytes);
    }
    shl_fpenv_leave(env);
}

#undef K_DIVIDE
#undef K_SPLAT
