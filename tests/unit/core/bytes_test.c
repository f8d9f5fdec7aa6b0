/*
 * The wire cursor: byte order, and bounds at every truncation.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/bytes.h"

#include "support/random.h"
#include "support/test.h"

#include <stdlib.h>

/* One of everything, so that truncations cut through each kind of field. */
static void put_all(struct shl_bytes *out)
{
    shl_bytes_put_u8(out, 0x12);
    shl_bytes_put_u16(out, 0x3456);
    shl_bytes_put_u32(out, 0x789abcde);
    shl_bytes_put_u64(out, 0x0123456789abcdefu);
    shl_bytes_put_string(out, "shoal");
    shl_bytes_put(out, "\x01\x02\x03", 3);
}

static const uint8_t wire[] = {0x12, 0x56, 0x34, 0xde, 0xbc, 0x9a, 0x78, 0xef, 0xcd,
                               0xab, 0x89, 0x67, 0x45, 0x23, 0x01, 5,    0,    's',
                               'h',  'o',  'a',  'l',  1,    2,    3};

struct all {
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;
    char text[8];
    uint8_t tail[3];
};

static struct all get_all(struct shl_bytes *in)
{
    struct all all;
    memset(&all, 0xee, sizeof(all));
    all.u8 = shl_bytes_get_u8(in);
    all.u16 = shl_bytes_get_u16(in);
    all.u32 = shl_bytes_get_u32(in);
    all.u64 = shl_bytes_get_u64(in);
    shl_bytes_get_string(in, all.text, sizeof(all.text));
    shl_bytes_get(in, all.tail, sizeof(all.tail));
    return all;
}

static void writes_little_endian(void **state)
{
    (void)state;
    uint8_t buffer[64];
    struct shl_bytes out = shl_bytes_writer(buffer, sizeof(buffer));
    put_all(&out);
    assert_false(out.failed);
    assert_int_equal(out.at, sizeof(wire));
    assert_memory_equal(buffer, wire, sizeof(wire));
}

static void reads_what_was_written(void **state)
{
    (void)state;
    struct shl_bytes in = shl_bytes_reader(wire, sizeof(wire));
    struct all all = get_all(&in);
    assert_false(in.failed);
    assert_int_equal(shl_bytes_left(&in), 0);
    assert_int_equal(all.u8, 0x12);
    assert_int_equal(all.u16, 0x3456);
    assert_int_equal(all.u32, 0x789abcde);
    assert_true(all.u64 == 0x0123456789abcdefu);
    assert_string_equal(all.text, "shoal");
    assert_memory_equal(all.tail, "\x01\x02\x03", 3);
}

/* Exactly sized heap blocks, so that a sanitizer sees a byte too far. */
static void every_truncated_read_fails_for_good(void **state)
{
    (void)state;
    for (size_t size = 0; size < sizeof(wire); size++) {
        uint8_t *copy = malloc(size ? size : 1);
        memcpy(copy, wire, size);
        struct shl_bytes in = shl_bytes_reader(copy, size);
        struct all all = get_all(&in);
        assert_true(in.failed);
        assert_true(in.at <= size);
        assert_memory_equal(all.tail, "\0\0\0", 3);
        size_t at = in.at;
        assert_int_equal(shl_bytes_get_u8(&in), 0);
        assert_null(shl_bytes_take(&in, 0));
        assert_int_equal(in.at, at);
        free(copy);
    }
}

static void every_truncated_write_fails_for_good(void **state)
{
    (void)state;
    for (size_t size = 0; size < sizeof(wire); size++) {
        uint8_t *buffer = malloc(size ? size : 1);
        struct shl_bytes out = shl_bytes_writer(buffer, size);
        put_all(&out);
        assert_true(out.failed);
        assert_memory_equal(buffer, wire, out.at);
        shl_bytes_put_u8(&out, 1);
        assert_true(out.failed);
        free(buffer);
    }
}

static void a_string_is_written_whole_or_not_at_all(void **state)
{
    (void)state;
    uint8_t buffer[6];
    struct shl_bytes out = shl_bytes_writer(buffer, sizeof(buffer));
    shl_bytes_put_string(&out, "shoal");
    assert_true(out.failed);
    assert_int_equal(out.at, 0);
    size_t length = UINT16_MAX + 1u;
    char *text = malloc(length + 1);
    uint8_t *large = malloc(length + 2);
    memset(text, 'x', length);
    text[length] = 0;
    out = shl_bytes_writer(large, length + 2);
    shl_bytes_put_string(&out, text);
    assert_true(out.failed);
    text[UINT16_MAX] = 0;
    out = shl_bytes_writer(large, length + 2);
    shl_bytes_put_string(&out, text);
    assert_false(out.failed);
    free(large);
    free(text);
}

static void a_string_must_fit_and_hold_no_zero(void **state)
{
    (void)state;
    static const uint8_t five[] = {5, 0, 's', 'h', 'o', 'a', 'l'};
    static const uint8_t with_zero[] = {3, 0, 'a', 0, 'b'};
    static const uint8_t lying[] = {0xff, 0xff, 'a'};
    char text[6];
    struct shl_bytes in = shl_bytes_reader(five, sizeof(five));
    shl_bytes_get_string(&in, text, 6);
    assert_false(in.failed);
    for (size_t capacity = 0; capacity < 6; capacity++) {
        memset(text, 'x', sizeof(text));
        in = shl_bytes_reader(five, sizeof(five));
        shl_bytes_get_string(&in, text, capacity);
        assert_true(in.failed);
        assert_int_equal(text[0], capacity ? 0 : 'x');
    }
    in = shl_bytes_reader(with_zero, sizeof(with_zero));
    shl_bytes_get_string(&in, text, sizeof(text));
    assert_true(in.failed);
    assert_string_equal(text, "");
    in = shl_bytes_reader(lying, sizeof(lying));
    shl_bytes_get_string(&in, text, sizeof(text));
    assert_true(in.failed);
}

static void sizes_near_the_limit_do_not_wrap(void **state)
{
    (void)state;
    uint8_t buffer[4] = {1, 2, 3, 4};
    struct shl_bytes in = shl_bytes_reader(buffer, sizeof(buffer));
    shl_bytes_get_u8(&in);
    assert_null(shl_bytes_take(&in, SIZE_MAX));
    assert_true(in.failed);
    struct shl_bytes empty = shl_bytes_reader(NULL, 0);
    shl_bytes_get(&empty, NULL, 0);
    assert_false(empty.failed);
    assert_int_equal(shl_bytes_get_u64(&empty), 0);
    assert_true(empty.failed);
}

static void taking_points_into_the_buffer(void **state)
{
    (void)state;
    struct shl_bytes in = shl_bytes_reader(wire, sizeof(wire));
    assert_ptr_equal(shl_bytes_take(&in, 7), wire);
    assert_ptr_equal(shl_bytes_take(&in, 0), wire + 7);
    assert_ptr_equal(shl_bytes_take(&in, sizeof(wire) - 7), wire + 7);
    assert_null(shl_bytes_take(&in, 1));
}

/* Random bytes through random reads: never past the end, and failure is final. */
static void random_reads_stay_inside(void **state)
{
    (void)state;
    uint64_t seed = shl_test_seed();
    for (int round = 0; round < 2000; round++) {
        size_t size = shl_test_random(&seed) % 40;
        uint8_t *data = malloc(size ? size : 1);
        for (size_t i = 0; i < size; i++)
            data[i] = (uint8_t)(shl_test_random(&seed) % 4);
        struct shl_bytes in = shl_bytes_reader(data, size);
        for (int step = 0; step < 12; step++) {
            char text[8];
            bool failed = in.failed;
            switch (shl_test_random(&seed) % 4) {
            case 0:
                shl_bytes_get_u16(&in);
                break;
            case 1:
                shl_bytes_get_u64(&in);
                break;
            case 2:
                shl_bytes_get_string(&in, text, sizeof(text));
                break;
            default:
                shl_bytes_take(&in, shl_test_random(&seed) % 9);
            }
            assert_true(in.at <= size);
            assert_true(in.failed || !failed);
        }
        free(data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_little_endian),
        cmocka_unit_test(reads_what_was_written),
        cmocka_unit_test(every_truncated_read_fails_for_good),
        cmocka_unit_test(every_truncated_write_fails_for_good),
        cmocka_unit_test(a_string_is_written_whole_or_not_at_all),
        cmocka_unit_test(a_string_must_fit_and_hold_no_zero),
        cmocka_unit_test(sizes_near_the_limit_do_not_wrap),
        cmocka_unit_test(taking_points_into_the_buffer),
        cmocka_unit_test(random_reads_stay_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
