/*
 * Every instruction set against the scalar kernels, bit for bit: all lengths and alignments around
 * a vector, exact aliasing, the edges of mapped memory, large buffers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "device_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define BASE_OPS 4
#define SHORT 200 /* elements */
#define PAD 128   /* bytes of canary around an output */
#define CANARY 0xa5
#define MOST 6 /* operands */
#define ROOM (SHORT * 8 + 64)

/* One case: a kernel under test, the scalar one, and where messages say we are. */
struct subject {
    enum shoal_dtype dtype;
    unsigned op;
    size_t elem;
    const struct shl_reducer *tested, *scalar;
    uint64_t seed;
};

static void for_each_subject(void (*body)(struct subject *s))
{
    for (size_t i = 0; i < device_isa_count; i++)
        for (unsigned dtype = 0; dtype < SHOAL_DTYPE_COUNT; dtype++)
            for (unsigned op = 0; op < BASE_OPS; op++) {
                struct subject s = {(enum shoal_dtype)dtype, op, 0, NULL, NULL, device_seed()};
                s.elem = device_elem_bytes(s.dtype);
                s.tested = shl_reducer_get_isa(s.dtype, (enum shoal_op)op, device_isas[i]);
                s.scalar = shl_reducer_get_isa(s.dtype, (enum shoal_op)op, "scalar");
                if (s.tested != NULL)
                    body(&s);
            }
}

static void same(const struct subject *s, const void *got, const void *want, size_t count,
                 const char *form)
{
    if (memcmp(got, want, count * s->elem) == 0)
        return;
    size_t i = 0;
    while (device_load(got, i, s->dtype) == device_load(want, i, s->dtype))
        i++;
    fail_msg("%s %s %s %s: element %zu of %zu is %llx, not %llx; seed %llu", s->tested->isa,
             device_dtype_name(s->dtype), device_op_name(s->op), form, i, count,
             (unsigned long long)device_load(got, i, s->dtype),
             (unsigned long long)device_load(want, i, s->dtype), (unsigned long long)device_seed());
}

/* Every count 0..SHORT at every output alignment 0..63, inputs wherever chance puts them. */
static void lengths_and_alignments(struct subject *s)
{
    static unsigned char data[3][SHORT * 8], in[3][ROOM], out[ROOM + 2 * PAD], want[2][SHORT * 8];
    static const size_t steps[3] = {1, 3, 0};
    const void *x[3];

    for (int j = 0; j < 3; j++) {
        device_fill(data[j], SHORT, s->dtype, &s->seed);
        x[j] = data[j];
    }
    s->scalar->two(want[0], x[0], x[1], SHORT);
    s->scalar->many(want[1], x, 3, SHORT);
    for (size_t align = 0; align < 64; align++) {
        for (int j = 0; j < 3; j++) {
            size_t shift = (align * steps[j] + device_random(&s->seed)) % 64;
            x[j] = in[j] + shift;
            memcpy(in[j] + shift, data[j], SHORT * s->elem);
        }
        for (size_t count = 0; count <= SHORT; count++) {
            size_t bytes = count * s->elem;
            unsigned char *at = out + PAD + align;
            int form = (int)(device_random(&s->seed) % 4 == 0);

            memset(at - PAD, CANARY, bytes + 2 * PAD);
            if (form == 0)
                s->tested->two(at, x[0], x[1], count);
            else
                s->tested->many(at, x, 3, count);
            same(s, at, want[form], count, form == 0 ? "two" : "many");
            for (size_t k = 0; k < PAD; k++)
                assert_true(at[-1 - (long)k] == CANARY && at[bytes + k] == CANARY);
        }
    }
}

/* Operands and result against an inaccessible page, before and behind. */
static void edges_of_memory(struct subject *s)
{
    static unsigned char data[2][SHORT * 8], want[SHORT * 8];
    struct device_fence a, b, out;

    device_fence_make(&a, sizeof(data[0]));
    device_fence_make(&b, sizeof(data[0]));
    device_fence_make(&out, sizeof(want));
    device_fill(data[0], SHORT, s->dtype, &s->seed);
    device_fill(data[1], SHORT, s->dtype, &s->seed);
    s->scalar->two(want, data[0], data[1], SHORT);
    for (size_t count = 0; count <= SHORT; count++) {
        size_t bytes = count * s->elem;

        memcpy(a.end - bytes, data[0], bytes);
        memcpy(b.end - bytes, data[1], bytes);
        s->tested->two(out.end - bytes, a.end - bytes, b.end - bytes, count);
        same(s, out.end - bytes, want, count, "two, at the end of memory");
        memcpy(a.start, data[0], bytes);
        memcpy(b.start, data[1], bytes);
        s->tested->two(out.start, a.start, b.start, count);
        same(s, out.start, want, count, "two, at the start of memory");
    }
    device_fence_free(&a);
    device_fence_free(&b);
    device_fence_free(&out);
}

/* The result over any of the operands, at lengths with every kind of head and tail. */
static void in_place(struct subject *s)
{
    static unsigned char data[MOST][ROOM], want[ROOM], saved[ROOM];
    const void *x[MOST];

    for (size_t n = 1; n <= MOST; n++)
        for (size_t over = 0; over < n; over++)
            for (int round = 0; round < 6; round++) {
                size_t count = 1 + device_random(&s->seed) % SHORT;
                for (size_t j = 0; j < n; j++) {
                    unsigned char *p = data[j] + device_random(&s->seed) % 64;
                    device_fill(p, count, s->dtype, &s->seed);
                    x[j] = p;
                }
                memcpy(saved, x[over], count * s->elem);
                s->scalar->many(want, x, n, count);
                s->tested->many((void *)(uintptr_t)x[over], x, n, count);
                same(s, x[over], want, count, "many in place");
                if (n != 2)
                    continue;
                memcpy((void *)(uintptr_t)x[over], saved, count * s->elem);
                s->tested->two((void *)(uintptr_t)x[over], x[0], x[1], count);
                same(s, x[over], want, count, "two in place");
            }
}

/* Both operands and the result the same buffer. */
static void doubled_in_place(struct subject *s)
{
    static unsigned char data[ROOM], want[ROOM];

    device_fill(data, SHORT, s->dtype, &s->seed);
    s->scalar->two(want, data, data, SHORT);
    s->tested->two(data, data, data, SHORT);
    same(s, data, want, SHORT, "two of one buffer in place");
}

/* Large enough for the unrolled loops, blocks and streaming, with odd ends. */
static void large(struct subject *s)
{
    enum { BYTES = 70000 };
    static unsigned char data[MOST][BYTES + 64], out[BYTES + 64], want[BYTES + 64];
    size_t count = (BYTES - 64) / s->elem - 3;
    const void *x[MOST];

    for (size_t j = 0; j < MOST; j++) {
        x[j] = data[j] + device_random(&s->seed) % 64;
        device_fill((void *)(uintptr_t)x[j], count, s->dtype, &s->seed);
    }
    for (size_t n = 1; n <= MOST; n++) {
        s->scalar->many(want, x, n, count);
        s->tested->many(out + device_random(&s->seed) % 2 * s->elem, x, n, count);
        s->tested->many(out + 5, x, n, count);
        same(s, out + 5, want, count, "many, large");
    }
    s->scalar->two(want, x[0], x[1], count);
    s->tested->two(out + 1, x[0], x[1], count);
    same(s, out + 1, want, count, "two, large");
}

static void test_lengths_and_alignments(void **state)
{
    (void)state;
    for_each_subject(lengths_and_alignments);
}

static void test_edges_of_memory(void **state)
{
    (void)state;
    for_each_subject(edges_of_memory);
}

static void test_in_place(void **state)
{
    (void)state;
    for_each_subject(in_place);
    for_each_subject(doubled_in_place);
}

static void test_large(void **state)
{
    (void)state;
    for_each_subject(large);
}

/* Every pair of 8-bit operands and of a 16-bit one with many: no value goes untested. */
static void every_value(struct subject *s)
{
    static uint16_t a[65536], b[65536], out[65536], want[65536];
    unsigned char *a8 = (unsigned char *)a, *b8 = (unsigned char *)b;

    if (s->elem > 2)
        return;
    for (unsigned i = 0; i < 65536; i++) {
        if (s->elem == 1) {
            a8[i] = (unsigned char)(i >> 8);
            b8[i] = (unsigned char)i;
        } else {
            a[i] = (uint16_t)i;
        }
    }
    for (int round = 0; round < (s->elem == 1 ? 1 : 8); round++) {
        if (s->elem == 2)
            device_fill(b, 65536, s->dtype, &s->seed);
        s->scalar->two(want, a, b, 65536);
        s->tested->two(out, a, b, 65536);
        same(s, out, want, 65536, "two, every value");
        s->scalar->two(want, b, a, 65536);
        s->tested->two(out, b, a, 65536);
        same(s, out, want, 65536, "two, every value on the right");
    }
}

static void test_every_value(void **state)
{
    (void)state;
    for_each_subject(every_value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lengths_and_alignments),
        cmocka_unit_test(test_edges_of_memory),
        cmocka_unit_test(test_in_place),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_every_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
