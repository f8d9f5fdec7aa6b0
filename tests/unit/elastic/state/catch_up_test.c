/*
 * What a learner and a member write to each other: read back as it was written, and refused when it
 * is anything else; and which chunks are moved as one piece when some are left out.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/state/catch_up.h"

#include "support/random.h"
#include "support/test.h"

#include <string.h>

static void mail_is_read_as_it_was_written(void **state)
{
    (void)state;
    uint8_t head[SHL_CATCH_UP_HEAD + 3];
    for (int kind = SHL_CATCH_UP_ASK; kind <= SHL_CATCH_UP_DROPPED; kind++) {
        struct shl_catch_up_mail mail = {.kind = (enum shl_catch_up_kind)kind}, read;
        bool numbered = kind <= SHL_CATCH_UP_SAME || kind == SHL_CATCH_UP_LATER;
        mail.chunk = numbered ? 0x123456789abcull : 0;
        memset(mail.schema, kind == SHL_CATCH_UP_ASK ? 7 : 0, SHL_HASH_BYTES);
        memset(mail.hash, kind == SHL_CATCH_UP_ASK ? 9 : 0, SHL_HASH_BYTES);
        size_t size = shl_catch_up_put(head, &mail);
        assert_true(size <= SHL_CATCH_UP_HEAD);
        assert_true(shl_catch_up_get(head, size, &read));
        assert_int_equal(read.kind, mail.kind);
        assert_int_equal(read.chunk, mail.chunk);
        assert_memory_equal(read.schema, mail.schema, SHL_HASH_BYTES);
        assert_memory_equal(read.hash, mail.hash, SHL_HASH_BYTES);
        assert_int_equal(read.bytes, 0);
        assert_false(shl_catch_up_get(head, size - 1, &read)); /* cut */
        assert_int_equal(shl_catch_up_get(head, size + 3, &read), kind == SHL_CATCH_UP_DATA);
    }
}

static void data_follows_its_head(void **state)
{
    (void)state;
    uint8_t bytes[SHL_CATCH_UP_HEAD + 5];
    struct shl_catch_up_mail mail = {.kind = SHL_CATCH_UP_DATA, .chunk = 3}, read;
    size_t size = shl_catch_up_put(bytes, &mail);
    memcpy(bytes + size, "chunk", 5);
    assert_true(shl_catch_up_get(bytes, size + 5, &read));
    assert_int_equal(read.bytes, 5);
    assert_memory_equal(read.data, "chunk", 5);
}

/* Whatever it says, it is read within its bounds. */
static void noise_is_no_danger(void **state)
{
    (void)state;
    uint64_t random = shl_test_seed();
    uint8_t bytes[2 * SHL_CATCH_UP_HEAD];
    struct shl_catch_up_mail mail;
    assert_false(shl_catch_up_get(bytes, 0, &mail));
    for (int i = 0; i < 20000; i++) {
        size_t size = shl_test_random(&random) % sizeof(bytes);
        for (size_t k = 0; k < size; k++)
            bytes[k] = (uint8_t)(shl_test_random(&random) % (k ? 256 : 10));
        if (!shl_catch_up_get(bytes, size, &mail))
            continue;
        assert_in_range(mail.kind, SHL_CATCH_UP_ASK, SHL_CATCH_UP_DROPPED);
        assert_true(mail.bytes < size && mail.data + mail.bytes == bytes + size);
    }
}

static void pieces_end_at_gaps(void **state)
{
    (void)state;
    struct shl_chunk at[] = {{0, 0, 10}, {0, 10, 10}, {0, 30, 10}, {1, 40, 4}, {1, 44, 4}};
    struct shl_chunks chunks = {.at = at, .count = 5, .bytes = 38};
    uint64_t bytes;
    assert_int_equal(shl_chunks_piece(&chunks, 0, 5, &bytes), 2);
    assert_int_equal(bytes, 20);
    assert_int_equal(shl_chunks_piece(&chunks, 2, 5, &bytes), 1); /* the next is of another array */
    assert_int_equal(bytes, 10);
    assert_int_equal(shl_chunks_piece(&chunks, 3, 5, &bytes), 2);
    assert_int_equal(bytes, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mail_is_read_as_it_was_written),
        cmocka_unit_test(data_follows_its_head),
        cmocka_unit_test(noise_is_no_danger),
        cmocka_unit_test(pieces_end_at_gaps),
    };
    return cmocka_run_group_tests_name("catch_up", tests, NULL, NULL);
}
