/*
 * Streams of samples through the C ABI, case by case: shares, tails, looking ahead, shards,
 * commits, records, positions, errors.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/fault.h"
#include "support/test.h"

#include <shoal/shoal.h>

static struct shoal_samples *make(uint64_t count, uint64_t batch, enum shoal_batch_mode mode)
{
    struct shoal_samples *samples;
    struct shoal_samples_options options = {
        .struct_size = sizeof(options), .seed = 5, .samples = count, .batch = batch, .mode = mode};
    ASSERT_OK(shoal_samples_create(&options, &samples));
    return samples;
}

static struct shoal_samples_share share_of(struct shoal_samples *samples, uint32_t rank,
                                           uint32_t size, uint64_t ahead, uint64_t *indices)
{
    struct shoal_samples_view view = {
        .struct_size = sizeof(view), .rank = rank, .size = size, .ahead = ahead};
    struct shoal_samples_share share = {.struct_size = sizeof(share)};
    ASSERT_OK(shoal_samples_assign(samples, &view, indices, indices ? 1000 : 0, &share));
    return share;
}

static struct shoal_samples_info info_of(const struct shoal_samples *samples)
{
    struct shoal_samples_info info = {.struct_size = sizeof(info)};
    ASSERT_OK(shoal_samples_info(samples, &info));
    return info;
}

/* Reads the steps of one data epoch; each sample must come once. */
static void read_data_epoch(struct shoal_samples *samples, uint32_t size, uint64_t count)
{
    uint8_t seen[1000] = {0};
    uint64_t indices[1000], sum = 0, data_epoch = info_of(samples).data_epoch;
    while (info_of(samples).data_epoch == data_epoch) {
        uint64_t total = 0;
        for (uint32_t rank = 0; rank < size; rank++) {
            struct shoal_samples_share share = share_of(samples, rank, size, 0, indices);
            for (uint64_t i = 0; i < share.count; i++) {
                assert_true(indices[i] < count);
                assert_int_equal(seen[indices[i]]++, 0);
            }
            total += share.count;
            if (rank + 1 == size)
                assert_int_equal(share.total, total);
        }
        assert_true(total > 0);
        sum += total;
        ASSERT_OK(shoal_samples_commit(samples, size, NULL, NULL, NULL));
    }
    assert_int_equal(sum, count);
}

static void each_sample_once(void **state)
{
    (void)state;
    for (uint64_t count = 1; count < 40; count += 3) {
        for (uint32_t size = 1; size <= 5; size++) {
            for (uint64_t batch = 1; batch <= 9; batch += 2) {
                struct shoal_samples *samples =
                    make(count, batch, batch % 4 == 1 ? SHOAL_BATCH_GLOBAL : SHOAL_BATCH_PER_RANK);
                read_data_epoch(samples, size, count);
                read_data_epoch(samples, size, count);
                shoal_samples_destroy(samples);
            }
        }
    }
}

static void batches_and_tails(void **state)
{
    (void)state;
    struct shoal_samples *global = make(10, 8, SHOAL_BATCH_GLOBAL);
    struct shoal_samples *each = make(10, 2, SHOAL_BATCH_PER_RANK);
    assert_int_equal(share_of(global, 0, 3, 0, NULL).count, 3);
    assert_int_equal(share_of(global, 2, 3, 0, NULL).count, 2);
    assert_int_equal(share_of(global, 0, 3, 0, NULL).total, 8);
    assert_int_equal(share_of(each, 2, 3, 0, NULL).count, 2);
    assert_int_equal(share_of(each, 2, 3, 0, NULL).total, 6);
    /* The tails: 2 of 10, and 4 of 10, on three ranks. */
    assert_int_equal(share_of(global, 1, 3, 1, NULL).count, 1);
    assert_int_equal(share_of(global, 2, 3, 1, NULL).count, 0);
    assert_int_equal(share_of(global, 2, 3, 1, NULL).total, 2);
    assert_int_equal(share_of(each, 0, 3, 1, NULL).count, 2);
    assert_int_equal(share_of(each, 1, 3, 1, NULL).count, 1);
    shoal_samples_destroy(global);
    shoal_samples_destroy(each);
}

/* What a loader reads ahead is what the commits then bring, across data epochs and with a skipped
 * span. */
static void ahead_is_what_comes(void **state)
{
    (void)state;
    uint64_t foreseen[20][8], indices[1000];
    uint64_t counts[20], epochs[20];
    const uint8_t without_1[] = {1, 0, 1};
    struct shoal_samples *samples = make(23, 5, SHOAL_BATCH_GLOBAL);
    ASSERT_OK(shoal_samples_commit(samples, 3, without_1, NULL, NULL));
    for (uint64_t k = 0; k < 20; k++) {
        struct shoal_samples_share share = share_of(samples, 1, 3, k, indices);
        assert_int_equal(share.step, 1 + k);
        counts[k] = share.count;
        epochs[k] = share.data_epoch;
        memcpy(foreseen[k], indices, share.count * sizeof(indices[0]));
    }
    for (uint64_t k = 0; k < 20; k++) {
        struct shoal_samples_share share = share_of(samples, 1, 3, 0, indices);
        assert_int_equal(share.step, 1 + k);
        assert_int_equal(share.count, counts[k]);
        assert_int_equal(share.data_epoch, epochs[k]);
        assert_memory_equal(foreseen[k], indices, share.count * sizeof(indices[0]));
        ASSERT_OK(shoal_samples_commit(samples, 3, NULL, NULL, NULL));
    }
    assert_true(epochs[19] >= 3);
    shoal_samples_destroy(samples);
}

static void skipped_are_served_first(void **state)
{
    (void)state;
    uint64_t lost[1000], indices[1000];
    const uint8_t without_1[] = {1, 0, 1};
    struct shoal_samples *samples = make(100, 9, SHOAL_BATCH_GLOBAL);
    share_of(samples, 1, 3, 0, lost);
    ASSERT_OK(shoal_samples_commit(samples, 3, without_1, NULL, NULL));
    struct shoal_samples_info info = info_of(samples);
    assert_int_equal(info.step, 1);
    assert_int_equal(info.consumed, 6);
    assert_int_equal(info.skipped, 3);
    assert_int_equal(info.skipped_spans, 1);
    assert_int_equal(info.samples, 100);
    /* Two are left; the first of them gets what was lost first. */
    assert_int_equal(share_of(samples, 0, 2, 0, indices).count, 5);
    assert_memory_equal(indices, lost, 3 * sizeof(lost[0]));
    ASSERT_OK(shoal_samples_commit(samples, 2, NULL, NULL, NULL));
    assert_int_equal(info_of(samples).consumed, 15);
    assert_int_equal(info_of(samples).skipped_spans, 0);
    shoal_samples_destroy(samples);
}

/* Who had the last samples failed: nothing is skipped, and the data epoch is not over. */
static void a_lost_tail(void **state)
{
    (void)state;
    const uint8_t only_0[] = {1, 0};
    struct shoal_samples *samples = make(4, 4, SHOAL_BATCH_GLOBAL);
    ASSERT_OK(shoal_samples_commit(samples, 2, only_0, NULL, NULL));
    struct shoal_samples_info info = info_of(samples);
    assert_int_equal(info.consumed, 2);
    assert_int_equal(info.skipped, 0);
    assert_int_equal(info.data_epoch, 0);
    ASSERT_OK(shoal_samples_commit(samples, 1, NULL, NULL, NULL));
    assert_int_equal(info_of(samples).data_epoch, 1);
    assert_int_equal(info_of(samples).consumed, 0);
    /* A step whose contributors had nothing is a step all the same. */
    const uint8_t only_2[] = {0, 0, 0, 0, 1};
    ASSERT_OK(shoal_samples_commit(samples, 5, only_2, NULL, NULL));
    assert_int_equal(info_of(samples).step, 3);
    assert_int_equal(info_of(samples).consumed, 0);
    shoal_samples_destroy(samples);
}

static void shards_stay_together(void **state)
{
    (void)state;
    const uint64_t lengths[] = {3, 0, 5, 1, 0, 7, 2, 0};
    const uint64_t starts[] = {0, 3, 3, 8, 9, 9, 16, 18, 18};
    uint64_t order[2][18];
    struct shoal_samples *samples;
    struct shoal_samples_options options = {.struct_size = sizeof(options),
                                            .seed = 3,
                                            .batch = 4,
                                            .shard_lengths = lengths,
                                            .shard_count = 8};
    ASSERT_OK(shoal_samples_create(&options, &samples));
    for (int epoch = 0; epoch < 2; epoch++) {
        uint64_t indices[1000], count = 0;
        while (info_of(samples).data_epoch == (uint64_t)epoch) {
            for (uint32_t rank = 0; rank < 3; rank++) {
                uint64_t got = share_of(samples, rank, 3, 0, indices).count;
                memcpy(&order[epoch][count], indices, got * sizeof(indices[0]));
                count += got;
            }
            ASSERT_OK(shoal_samples_commit(samples, 3, NULL, NULL, NULL));
        }
        assert_int_equal(count, 18);
    }
    assert_memory_not_equal(order[0], order[1], sizeof(order[0]));
    for (int epoch = 0; epoch < 2; epoch++) {
        uint32_t seen = 0;
        for (int at = 0; at < 18;) {
            int shard = 0;
            while (lengths[shard] == 0 || starts[shard] != order[epoch][at])
                assert_int_not_equal(++shard, 8);
            for (uint64_t i = 0; i < lengths[shard]; i++)
                assert_int_equal(order[epoch][at++], starts[shard] + i);
            assert_false(seen >> shard & 1);
            seen |= 1u << shard;
        }
    }
    shoal_samples_destroy(samples);
}

static void positions_travel(void **state)
{
    (void)state;
    static uint8_t data[SHOAL_SAMPLES_BYTES_MAX], other[SHOAL_SAMPLES_BYTES_MAX];
    size_t bytes, other_bytes;
    const uint8_t without_0[] = {0, 1, 1, 0};
    struct shoal_samples *old = make(50, 8, SHOAL_BATCH_GLOBAL);
    ASSERT_OK(shoal_samples_commit(old, 4, without_0, NULL, NULL));
    ASSERT_OK(shoal_samples_save(old, data, &bytes));
    /* A joiner with another batch and mode. */
    struct shoal_samples *fresh = make(50, 3, SHOAL_BATCH_PER_RANK);
    ASSERT_OK(shoal_samples_restore(fresh, data, bytes));
    ASSERT_OK(shoal_samples_save(fresh, other, &other_bytes));
    assert_int_equal(bytes, other_bytes);
    assert_memory_equal(data, other, bytes);
    /* Cut short or with a byte too many it is refused. */
    for (size_t cut = 0; cut < bytes; cut++)
        ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_restore(fresh, data, cut));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_restore(fresh, data, bytes + 1));
    struct shoal_samples *stranger = make(51, 8, SHOAL_BATCH_GLOBAL);
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_restore(stranger, data, bytes));
    ASSERT_DETAIL("another stream");
    shoal_samples_destroy(stranger);
    shoal_samples_destroy(fresh);
    shoal_samples_destroy(old);
}

/* Bytes that decode, but name a place that the stream does not have. */
static void positions_beyond_the_end(void **state)
{
    (void)state;
    static uint8_t data[SHOAL_SAMPLES_BYTES_MAX];
    size_t bytes;
    struct shoal_samples *samples = make(50, 8, SHOAL_BATCH_GLOBAL);
    ASSERT_OK(shoal_samples_save(samples, data, &bytes));
    data[4 + 2 + 8 + 16] = 50; /* the cursor, with nothing skipped */
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_restore(samples, data, bytes));
    ASSERT_DETAIL("beyond the 50 samples");
    data[4 + 2 + 8 + 16] = 49;
    ASSERT_OK(shoal_samples_restore(samples, data, bytes));
    assert_int_equal(info_of(samples).consumed, 49);
    shoal_samples_destroy(samples);
}

static void records_catch_up(void **state)
{
    (void)state;
    static uint8_t record[SHOAL_SAMPLES_BYTES_MAX], later[SHOAL_SAMPLES_BYTES_MAX];
    size_t bytes, later_bytes;
    const uint8_t without_2[] = {1, 1, 0};
    struct shoal_samples *ahead = make(50, 8, SHOAL_BATCH_GLOBAL);
    struct shoal_samples *behind = make(50, 8, SHOAL_BATCH_GLOBAL);
    ASSERT_OK(shoal_samples_commit(ahead, 3, without_2, record, &bytes));
    ASSERT_OK(shoal_samples_commit(ahead, 2, NULL, later, &later_bytes));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_apply(behind, later, later_bytes));
    ASSERT_DETAIL("step 0 of data epoch 0 is at hand");
    ASSERT_OK(shoal_samples_apply(behind, record, bytes));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_apply(behind, record, bytes));
    ASSERT_OK(shoal_samples_apply(behind, later, later_bytes));
    ASSERT_OK(shoal_samples_save(ahead, record, &bytes));
    ASSERT_OK(shoal_samples_save(behind, later, &later_bytes));
    assert_int_equal(bytes, later_bytes);
    assert_memory_equal(record, later, bytes);
    shoal_samples_destroy(behind);
    shoal_samples_destroy(ahead);
}

/* Records that lie: their step is right, their samples are not. */
static void consumed_twice(void **state)
{
    (void)state;
    static uint8_t record[SHOAL_SAMPLES_BYTES_MAX];
    size_t bytes;
    enum { STEP = 14, FIRST = 34, COUNT = 42 }; /* offsets; docs/samples.md */
    struct shoal_samples *samples = make(50, 8, SHOAL_BATCH_GLOBAL);
    ASSERT_OK(shoal_samples_commit(samples, 1, NULL, record, &bytes));
    assert_int_equal(bytes, 50);
    record[STEP] = 1;
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_apply(samples, record, bytes));
    ASSERT_DETAIL("consumed before");
    record[FIRST] = 7;
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_apply(samples, record, bytes));
    record[FIRST] = 48; /* beyond the end */
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_apply(samples, record, bytes));
    ASSERT_DETAIL("beyond the 50 samples");
    record[COUNT] = 0; /* an empty span */
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_apply(samples, record, bytes));
    ASSERT_DETAIL("no record of a step");
    record[FIRST] = 20;
    record[COUNT] = 10;
    ASSERT_OK(shoal_samples_apply(samples, record, bytes));
    assert_int_equal(info_of(samples).consumed, 18);
    assert_int_equal(info_of(samples).skipped, 12);
    shoal_samples_destroy(samples);
}

/* 4,000 ranks of which every second one fails. */
static void too_many_spans(void **state)
{
    (void)state;
    static uint8_t contributed[4000], before[SHOAL_SAMPLES_BYTES_MAX];
    static uint8_t after[SHOAL_SAMPLES_BYTES_MAX];
    size_t before_bytes, after_bytes;
    for (int i = 0; i < 4000; i += 2)
        contributed[i] = 1;
    struct shoal_samples *samples = make(100000, 2, SHOAL_BATCH_PER_RANK);
    ASSERT_OK(shoal_samples_save(samples, before, &before_bytes));
    ASSERT_STATUS(SHOAL_ERR_UNSUPPORTED,
                  shoal_samples_commit(samples, 4000, contributed, NULL, NULL));
    ASSERT_DETAIL("give it up");
    ASSERT_OK(shoal_samples_save(samples, after, &after_bytes));
    assert_int_equal(before_bytes, after_bytes);
    assert_memory_equal(before, after, after_bytes);
    /* As many as are possible. */
    ASSERT_OK(shoal_samples_commit(samples, 2048, contributed, NULL, NULL));
    assert_int_equal(info_of(samples).skipped_spans, 1023);
    ASSERT_OK(shoal_samples_save(samples, after, &after_bytes));
    assert_true(after_bytes <= SHOAL_SAMPLES_BYTES_MAX);
    ASSERT_OK(shoal_samples_restore(samples, after, after_bytes));
    ASSERT_OK(shoal_samples_commit(samples, 2048, NULL, NULL, NULL));
    assert_int_equal(info_of(samples).skipped_spans, 0);
    shoal_samples_destroy(samples);
}

static void bad_options(void **state)
{
    (void)state;
    const uint64_t lengths[] = {3, 4}, huge[] = {UINT64_C(1) << 62, 1}, none[] = {0};
    struct shoal_samples *samples = NULL;
    const struct shoal_samples_options good = {
        .struct_size = sizeof(good), .samples = 7, .batch = 1};
    struct shoal_samples_options bad[8];
    for (int i = 0; i < 8; i++)
        bad[i] = good;
    bad[0].struct_size = 1;
    bad[1].samples = 0;
    bad[2].batch = 0;
    bad[3].mode = (enum shoal_batch_mode)7;
    bad[4].shard_lengths = lengths;
    bad[5].shard_lengths = huge;
    bad[5].shard_count = 2;
    bad[6].shard_lengths = none;
    bad[6].shard_count = 1;
    bad[6].samples = 0;
    bad[7].samples = (UINT64_C(1) << 62) + 1;
    for (int i = 0; i < 8; i++)
        ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_create(&bad[i], &samples));
    bad[4].shard_count = 2;
    bad[4].samples = 8;
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_create(&bad[4], &samples));
    ASSERT_DETAIL("the shards hold 7");
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_create(NULL, &samples));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_create(&good, NULL));
    assert_null(samples);
    shoal_samples_destroy(NULL);
}

static void bad_calls(void **state)
{
    (void)state;
    uint64_t indices[4];
    uint8_t nobody[2] = {0}, record[1];
    size_t bytes;
    struct shoal_samples *samples = make(10, 8, SHOAL_BATCH_GLOBAL);
    struct shoal_samples_view view = {.struct_size = sizeof(view), .rank = 2, .size = 2};
    struct shoal_samples_share share = {.struct_size = sizeof(share)};
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_assign(samples, &view, NULL, 0, &share));
    ASSERT_DETAIL("rank 2 is not below size 2");
    view.rank = 0;
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_assign(samples, &view, indices, 3, &share));
    ASSERT_DETAIL("no room for 4");
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_assign(samples, &view, NULL, 4, &share));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_assign(samples, &view, NULL, 0, NULL));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_assign(samples, NULL, NULL, 0, &share));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_assign(NULL, &view, NULL, 0, &share));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_commit(samples, 0, NULL, NULL, NULL));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_commit(samples, 2, nobody, NULL, NULL));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_commit(samples, 2, NULL, record, NULL));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_commit(NULL, 2, NULL, NULL, NULL));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_apply(samples, NULL, 0));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_restore(samples, NULL, 9));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_save(samples, NULL, &bytes));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_samples_info(samples, NULL));
    shoal_samples_destroy(samples);
}

/* A struct of an older header, which is shorter, gets what it has room for. */
static void older_headers(void **state)
{
    (void)state;
    struct shoal_samples *samples = make(10, 8, SHOAL_BATCH_GLOBAL);
    struct shoal_samples_info info;
    memset(&info, 0xee, sizeof(info));
    info.struct_size = 3 * sizeof(uint64_t);
    ASSERT_OK(shoal_samples_info(samples, &info));
    assert_int_equal(info.data_epoch, 0);
    assert_int_equal(info.samples, UINT64_C(0xeeeeeeeeeeeeeeee));
    shoal_samples_destroy(samples);
}

/* ---- without memory ------------------------------------------------------------------------- */

static enum shoal_status commit_and_restore(struct shoal_samples *samples)
{
    static uint8_t record[SHOAL_SAMPLES_BYTES_MAX], data[SHOAL_SAMPLES_BYTES_MAX];
    size_t record_bytes, bytes;
    SHL_TRY(shoal_samples_save(samples, data, &bytes));
    SHL_TRY(shoal_samples_commit(samples, 3, NULL, record, &record_bytes));
    SHL_TRY(shoal_samples_restore(samples, data, bytes));
    return shoal_samples_apply(samples, record, record_bytes);
}

static enum shoal_status live(void *arg)
{
    const uint64_t lengths[] = {3, 4};
    struct shoal_samples *samples;
    struct shoal_samples_options options = {
        .struct_size = sizeof(options), .batch = 4, .shard_lengths = lengths, .shard_count = 2};
    (void)arg;
    SHL_TRY(shoal_samples_create(&options, &samples));
    enum shoal_status status = commit_and_restore(samples);
    shoal_samples_destroy(samples);
    return status;
}

static void without_memory(void **state)
{
    (void)state;
    assert_true(shl_fault_sweep(SHL_FAULT_ALL, live, NULL, 100) >= 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_sample_once),    cmocka_unit_test(batches_and_tails),
        cmocka_unit_test(ahead_is_what_comes), cmocka_unit_test(skipped_are_served_first),
        cmocka_unit_test(a_lost_tail),         cmocka_unit_test(shards_stay_together),
        cmocka_unit_test(positions_travel),    cmocka_unit_test(positions_beyond_the_end),
        cmocka_unit_test(records_catch_up),    cmocka_unit_test(consumed_twice),
        cmocka_unit_test(too_many_spans),      cmocka_unit_test(bad_options),
        cmocka_unit_test(bad_calls),           cmocka_unit_test(older_headers),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
