/*
 * How replicated arrays are cut: every byte in one chunk, one stripe and one round; stripes are
 * equal; and which members deviate from the others.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/state/chunks.h"
#include "elastic/state/state.h"

#include "support/random.h"
#include "support/test.h"

#include <string.h>

#define ARRAYS 40

static uint64_t seed;

static int draw_seed(void **state)
{
    (void)state;
    seed = shl_test_seed();
    return 0;
}

static uint32_t draw_arrays(uint64_t *random, struct shl_state_array *arrays)
{
    uint32_t count = (uint32_t)(shl_test_random(random) % (ARRAYS + 1));
    for (uint32_t i = 0; i < count; i++) {
        uint64_t bound = shl_test_random(random) % 3 ? 5000 : 200ull << 20;
        uint64_t bytes = shl_test_random(random) % bound;
        arrays[i] = (struct shl_state_array){
            .bytes = bytes, .count = bytes, .kind = SHOAL_STATE_REPLICATED};
    }
    return count;
}

/* Walks all rounds of all stripes; every chunk comes once, and in order. */
static void check_rounds(const struct shl_chunks *chunks, uint32_t stripes)
{
    uint64_t expected = 0;
    for (uint32_t s = 0; s < stripes; s++) {
        uint64_t at = shl_chunks_stripe(chunks, s, stripes), bytes = 0;
        uint64_t end = shl_chunks_stripe(chunks, s + 1, stripes);
        assert_true(at <= end);
        while (at < end) {
            uint64_t next = shl_chunks_round(chunks, at, end), round = 0;
            assert_int_equal(at, expected);
            assert_true(next > at && next - at <= SHL_ROUND_CHUNKS);
            for (; at < next; at++)
                round += chunks->at[at].bytes;
            assert_true(round < SHL_ROUND_BYTES + SHL_CHUNK_BYTES);
            bytes += round;
            expected = next;
        }
        uint64_t share = chunks->bytes / stripes;
        assert_true(bytes <= share + SHL_CHUNK_BYTES && bytes + SHL_CHUNK_BYTES >= share);
    }
    assert_int_equal(expected, chunks->count);
}

static void stripes_are_equal_and_complete(void **state)
{
    (void)state;
    struct shl_state_array arrays[ARRAYS];
    uint64_t random = seed;
    for (int i = 0; i < 300; i++) {
        struct shl_chunks chunks;
        uint64_t bytes = 0;
        uint32_t count = draw_arrays(&random, arrays);
        assert_int_equal(shl_chunks_make(arrays, count, &chunks), SHOAL_OK);
        for (uint32_t k = 0; k < count; k++)
            bytes += arrays[k].bytes;
        assert_int_equal(chunks.bytes, bytes);
        check_rounds(&chunks, 1 + (uint32_t)(shl_test_random(&random) % 9));
        shl_chunks_free(&chunks);
    }
}

static void pieces_are_of_one_array(void **state)
{
    (void)state;
    struct shl_state_array arrays[3] = {
        {.bytes = 10, .kind = SHOAL_STATE_REPLICATED},
        {.bytes = 0, .kind = SHOAL_STATE_REPLICATED},
        {.bytes = 2 * SHL_CHUNK_BYTES + 1, .kind = SHOAL_STATE_REPLICATED}};
    struct shl_chunks chunks;
    uint64_t bytes;
    assert_int_equal(shl_chunks_make(arrays, 3, &chunks), SHOAL_OK);
    assert_int_equal(chunks.count, 4);
    assert_int_equal(shl_chunks_piece(&chunks, 0, 4, &bytes), 1);
    assert_int_equal(bytes, 10);
    assert_int_equal(shl_chunks_piece(&chunks, 1, 4, &bytes), 3);
    assert_int_equal(bytes, 2 * SHL_CHUNK_BYTES + 1);
    assert_int_equal(shl_chunks_piece(&chunks, 1, 3, &bytes), 2);
    assert_int_equal(bytes, 2 * SHL_CHUNK_BYTES);
    shl_chunks_free(&chunks);
}

/* `groups` has a letter for each rank; expected: 1 where it deviates. */
static void check_deviants(const char *groups, const char *expected)
{
    uint8_t hashes[16 * SHL_HASH_BYTES] = {0};
    bool deviates[16];
    uint32_t ranks = (uint32_t)strlen(groups), count = 0;
    for (uint32_t i = 0; i < ranks; i++)
        hashes[i * SHL_HASH_BYTES + 31] = (uint8_t)groups[i];
    uint32_t found = shl_state_deviants(hashes, SHL_HASH_BYTES, ranks, deviates);
    for (uint32_t i = 0; i < ranks; i++) {
        assert_int_equal(deviates[i], expected[i] == '1');
        count += deviates[i];
    }
    assert_int_equal(found, count);
}

static void the_majority_is_right(void **state)
{
    (void)state;
    check_deviants("a", "0");
    check_deviants("aaaa", "0000");
    check_deviants("baaa", "1000");
    check_deviants("abaca", "01010");
    check_deviants("abbcd", "10011");
    check_deviants("baab", "0110"); /* as many: that of rank 0 */
    check_deviants("abc", "011");
}

static void hash_is_sha256(void **state)
{
    (void)state;
    static const uint8_t expected[4] = {0xba, 0x78, 0x16, 0xbf}; /* of "abc": FIPS 180-4 */
    uint8_t hash[SHL_HASH_BYTES];
    assert_int_equal(shl_hash_data("abc", 3, hash), SHOAL_OK);
    assert_memory_equal(hash, expected, sizeof(expected));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stripes_are_equal_and_complete),
        cmocka_unit_test(pieces_are_of_one_array),
        cmocka_unit_test(the_majority_is_right),
        cmocka_unit_test(hash_is_sha256),
    };
    return cmocka_run_group_tests_name("chunks", tests, draw_seed, NULL);
}
