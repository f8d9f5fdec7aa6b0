/*
 * Plain loops for one dtype and op; included once for each by reduce_scalar.c.
 *
 * Parameters: K_NAME(stem) names a function, K_WORD holds an element, K_ACC accumulates,
 * K_WIDEN(word), K_NARROW(acc), K_COMBINE(acc, acc).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
static K_WORD K_NAME(load)(const void *base, size_t i)
{
    K_WORD word;
    memcpy(&word, (const char *)base + i * sizeof(word), sizeof(word));
    return word;
}

static K_WORD K_NAME(fold)(const void *const *x, size_t n, size_t i)
{
    K_ACC acc = K_WIDEN(K_NAME(load)(x[0], i));

    for (size_t j = 1; j < n; j++)
        acc = K_COMBINE(acc, K_WIDEN(K_NAME(load)(x[j], i)));
    return K_NARROW(acc);
}

static void K_NAME(push)(void *const *outs, size_t out_count, const void *const *x, size_t n,
                         size_t count, size_t cached)
{
    uint64_t env = shl_fpenv_enter();

    (void)cached; /* Streaming stores are a matter of the vector sets. */
    for (size_t i = 0; i < count; i++) {
        /* A single operand is copied, not converted: nothing is combined, so nothing rounds. */
        K_WORD word = n == 1 ? K_NAME(load)(x[0], i) : K_NAME(fold)(x, n, i);

        for (size_t k = 0; k < out_count; k++)
            memcpy((char *)outs[k] + i * sizeof(word), &word, sizeof(word));
    }
    shl_fpenv_leave(env);
}

static void K_NAME(many)(void *out, const void *const *x, size_t n, size_t count)
{
    K_NAME(push)(&out, 1, x, n, count, 1);
}

static void K_NAME(two)(void *out, const void *a, const void *b, size_t count)
{
    const void *const x[2] = {a, b};

    K_NAME(push)(&out, 1, x, 2, count, 1);
}
