/*
 * Push and copies on every instruction set: several outputs, alike and unlike in alignment, cached
 * and streaming, over their own inputs; counts that 32 bits do not hold.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "device_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define MOST 5
#define BYTES 20000
#define PAD 128
#define CANARY 0x5a

static unsigned char inputs[MOST][BYTES + 64], outputs[MOST][BYTES + 128 + 2 * PAD], want[BYTES];

/* One push with the shape that `seed` gives. With `alike`, outputs share their place in a line. */
static void push_once(const struct shl_reducer *tested, const struct shl_reducer *scalar,
                      enum shoal_dtype dtype, unsigned op, bool alike, uint64_t *seed)
{
    uint64_t shape = device_random(seed);
    size_t n = 1 + shape % MOST, out_count = 1 + (shape >> 8) % MOST;
    size_t elem = device_elem_bytes(dtype);
    size_t most = (shape >> 16) % 3 == 0 ? 300 : BYTES;
    size_t count = (shape >> 24) % (most / elem + 1), bytes = count * elem;
    size_t cached = (shape >> 48) % (MOST + 1);
    size_t lead = (shape >> 52) % 64;
    const void *x[MOST];
    void *outs[MOST];

    for (size_t j = 0; j < n; j++) {
        x[j] = inputs[j] + device_random(seed) % 64;
        device_fill((void *)(uintptr_t)x[j], count, dtype, seed);
    }
    for (size_t k = 0; k < out_count; k++) {
        uintptr_t base = ((uintptr_t)outputs[k] + PAD + 63) & ~(uintptr_t)63;
        outs[k] = (void *)(base + (alike ? lead / elem * elem : device_random(seed) % 64));
        memset((char *)outs[k] - PAD, CANARY, bytes + 2 * PAD);
    }
    scalar->many(want, x, n, count);
    tested->push(outs, out_count, x, n, count, cached);
    for (size_t k = 0; k < out_count; k++) {
        const unsigned char *at = outs[k];
        bool intact = memcmp(at, want, bytes) == 0;
        for (size_t i = 0; i < PAD; i++)
            intact = intact && at[-1 - (long)i] == CANARY && at[bytes + i] == CANARY;
        if (!intact)
            fail_msg("%s %s %s: push of %zu inputs, output %zu of %zu, %zu elements, alike %d, "
                     "%zu cached; seed %llu",
                     tested->isa, device_dtype_name(dtype), device_op_name(op), n, k, out_count,
                     count, alike, cached, (unsigned long long)device_seed());
    }
}

static void push_shapes(void **state)
{
    uint64_t seed = device_seed();

    (void)state;
    for (size_t i = 0; i < device_isa_count; i++)
        for (unsigned dtype = 0; dtype < SHOAL_DTYPE_COUNT; dtype++)
            for (unsigned op = 0; op < 4; op++) {
                enum shoal_dtype d = (enum shoal_dtype)dtype;
                const struct shl_reducer *tested =
                    shl_reducer_get_isa(d, (enum shoal_op)op, device_isas[i]);
                for (int round = 0; tested != NULL && round < 24; round++)
                    push_once(tested, shl_reducer_get_isa(d, (enum shoal_op)op, "scalar"), d, op,
                              round % 2 == 0, &seed);
            }
}

/* What the direct allreduce does: every output is one of the inputs. */
static void push_over_inputs(void **state)
{
    uint64_t seed = device_seed();

    (void)state;
    for (size_t i = 0; i < device_isa_count; i++)
        for (unsigned dtype = 0; dtype < SHOAL_DTYPE_COUNT; dtype++)
            for (unsigned apart = 0; apart < 4; apart++) {
                enum shoal_dtype d = (enum shoal_dtype)dtype;
                const struct shl_reducer *r = shl_reducer_get_isa(d, SHOAL_SUM, device_isas[i]);
                size_t count = BYTES / device_elem_bytes(d) - 1;
                void *outs[4];
                if (r == NULL)
                    continue;
                for (size_t j = 0; j < 4; j++) {
                    outs[j] = inputs[j] + (apart / 2 != 0 ? j * 3 : 0);
                    device_fill(outs[j], count, d, &seed);
                }
                const void *const x[4] = {outs[0], outs[1], outs[2], outs[3]};
                shl_reducer_get_isa(d, SHOAL_SUM, "scalar")->many(want, x, 4, count);
                r->push(outs, 4, x, 4, count, apart % 2 ? apart / 2 : 4);
                for (size_t j = 0; j < 4; j++)
                    assert_memory_equal(outs[j], want, count * device_elem_bytes(d));
            }
}

static void copies(void **state)
{
    uint64_t seed = device_seed();

    (void)state;
    for (int round = 0; round < 4000; round++) {
        uint64_t shape = device_random(&seed);
        size_t bytes = shape % ((shape >> 60) < 8 ? 300 : BYTES);
        unsigned char *out = outputs[0] + PAD + (shape >> 32) % 64;
        const unsigned char *in = inputs[0] + (shape >> 40) % 64;

        device_fill(inputs[0], sizeof(inputs[0]) / 8, SHOAL_U64, &seed);
        memset(out - PAD, CANARY, bytes + 2 * PAD);
        shl_copy(out, in, bytes, round % 4 != 0);
        assert_memory_equal(out, in, bytes);
        for (size_t k = 0; k < PAD; k++)
            assert_true(out[-1 - (long)k] == CANARY && out[bytes + k] == CANARY);
    }
    shl_copy(inputs[0], inputs[0], BYTES, true); /* onto itself: nothing to do */
}

/* A streaming copy must not touch what lies beyond either end. */
static void copies_at_edges(void **state)
{
    struct device_fence in, out;

    (void)state;
    device_fence_make(&in, 4096);
    device_fence_make(&out, 4096);
    for (size_t bytes = 0; bytes <= 600; bytes++) {
        memset(in.start, (int)bytes, 4096);
        shl_copy(out.end - bytes, in.end - bytes, bytes, true);
        assert_memory_equal(out.end - bytes, in.end - bytes, bytes);
        shl_copy(out.start, in.start, bytes, true);
        assert_memory_equal(out.start, in.start, bytes);
    }
    device_fence_free(&in);
    device_fence_free(&out);
}

/* `bytes` of addresses over one `period` of memory, again and again. */
static char *repeat_mapping(int fd, size_t period, size_t bytes)
{
    char *base = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_true(base != MAP_FAILED);
    for (size_t at = 0; at < bytes; at += period)
        assert_true(mmap(base + at, period, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
                         0) != MAP_FAILED);
    return base;
}

/* More than 2^31 elements, over a few MiB of real memory: the last few lie in a page of their own,
 * so a count cut to 31 or 32 bits leaves them alone. */
static void count_beyond_32_bits(void **state)
{
    const size_t period = (size_t)4 << 20, bytes = ((size_t)1 << 32) + period, extra = 1000;
    int in_fd = memfd_create("in", MFD_CLOEXEC), out_fd = memfd_create("out", MFD_CLOEXEC);

    (void)state;
    assert_int_equal(ftruncate(in_fd, (off_t)period), 0);
    assert_int_equal(ftruncate(out_fd, (off_t)period), 0);
    char *in = repeat_mapping(in_fd, period, bytes), *out = repeat_mapping(out_fd, period, bytes);
    char *last = out + bytes - period;
    assert_true(mmap(last, period, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                     -1, 0) != MAP_FAILED);
    for (size_t i = 0; i < period; i++)
        in[i] = (char)(i % 251);
    shl_reducer_get(SHOAL_U8, SHOAL_SUM)->two(out, in, in, bytes - period + extra);
    for (size_t i = 0; i < period; i++) {
        assert_int_equal((unsigned char)out[i], (unsigned char)(i % 251 * 2));
        assert_int_equal((unsigned char)last[i], i < extra ? (unsigned char)(i % 251 * 2) : 0);
    }
    munmap(in, bytes);
    munmap(out, bytes);
    close(in_fd);
    close(out_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(push_shapes),
        cmocka_unit_test(push_over_inputs),
        cmocka_unit_test(copies),
        cmocka_unit_test(copies_at_edges),
        cmocka_unit_test(count_beyond_32_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
