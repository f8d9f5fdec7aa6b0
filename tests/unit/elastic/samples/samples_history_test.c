/*
 * Random histories of commits, failures, joins, leaves, stragglers and restarts from checkpoints:
 * at the end of every data epoch each sample was consumed exactly once, by whatever ranks there
 * were.
 *
 * What is consumed is what took effect: a restart takes back what came after its checkpoint.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/random.h"
#include "support/test.h"

#include <shoal/shoal.h>
#include <stdlib.h>

#define MEMBERS_MAX 9
#define SAMPLES_MAX 400
#define SHARDS_MAX 12
#define DATA_EPOCHS 3

struct saved {
    uint8_t data[SHOAL_SAMPLES_BYTES_MAX];
    size_t bytes;
    uint8_t taken[SAMPLES_MAX];
    uint64_t data_epoch;
};

struct history {
    uint64_t seed, random;
    uint64_t total, batch, shard_count, lengths[SHARDS_MAX];
    enum shoal_batch_mode mode;
    struct shoal_samples *members[MEMBERS_MAX]; /* by rank */
    uint32_t count;
    uint8_t taken[SAMPLES_MAX]; /* times that a sample was consumed in this data epoch */
    uint64_t data_epoch;        /* of `taken` */
    struct saved checkpoint;
    uint64_t indices[MEMBERS_MAX][SAMPLES_MAX], counts[MEMBERS_MAX];
    uint32_t partial, restarts, joins; /* to see that they were there */
};

#define REQUIRE(history, condition)                                                                \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_msg("not true: %s; history of seed %llu", #condition,                             \
                     (unsigned long long)(history)->seed);                                         \
    } while (0)

static uint64_t draw(struct history *history, uint64_t bound)
{
    return shl_test_random(&history->random) % bound;
}

static struct shoal_samples *open_stream(const struct history *history)
{
    struct shoal_samples *samples;
    struct shoal_samples_options options = {.struct_size = sizeof(options),
                                            .seed = history->seed,
                                            .samples = history->total,
                                            .batch = history->batch,
                                            .mode = history->mode,
                                            .shard_lengths =
                                                history->shard_count > 0 ? history->lengths : NULL,
                                            .shard_count = history->shard_count};
    ASSERT_OK(shoal_samples_create(&options, &samples));
    return samples;
}

static struct shoal_samples_info info_of(const struct shoal_samples *samples)
{
    struct shoal_samples_info info = {.struct_size = sizeof(info)};
    ASSERT_OK(shoal_samples_info(samples, &info));
    return info;
}

/* ---- what happens to members ---------------------------------------------------------------- */

static void join(struct history *history)
{
    static uint8_t data[SHOAL_SAMPLES_BYTES_MAX];
    size_t bytes;
    if (history->count == MEMBERS_MAX)
        return;
    struct shoal_samples *fresh = open_stream(history);
    struct shoal_samples *source = history->members[draw(history, history->count)];
    ASSERT_OK(shoal_samples_save(source, data, &bytes));
    ASSERT_OK(shoal_samples_restore(fresh, data, bytes));
    history->members[history->count++] = fresh;
    history->joins++;
}

static void leave(struct history *history, uint32_t rank)
{
    shoal_samples_destroy(history->members[rank]);
    for (uint32_t i = rank + 1; i < history->count; i++)
        history->members[i - 1] = history->members[i];
    history->count--;
}

static void save_checkpoint(struct history *history)
{
    struct saved *saved = &history->checkpoint;
    ASSERT_OK(shoal_samples_save(history->members[0], saved->data, &saved->bytes));
    memcpy(saved->taken, history->taken, sizeof(saved->taken));
    saved->data_epoch = history->data_epoch;
}

/* Everything died; another number of ranks goes on from the checkpoint, with another batch. */
static void restart(struct history *history)
{
    while (history->count > 0)
        leave(history, 0);
    history->batch = 1 + draw(history, history->total);
    history->mode = (enum shoal_batch_mode)draw(history, 2);
    memcpy(history->taken, history->checkpoint.taken, sizeof(history->taken));
    history->data_epoch = history->checkpoint.data_epoch;
    history->count = 1 + (uint32_t)draw(history, MEMBERS_MAX);
    for (uint32_t i = 0; i < history->count; i++) {
        history->members[i] = open_stream(history);
        ASSERT_OK(shoal_samples_restore(history->members[i], history->checkpoint.data,
                                        history->checkpoint.bytes));
    }
    history->restarts++;
}

/* ---- a step --------------------------------------------------------------------------------- */

static void assign_all(struct history *history)
{
    for (uint32_t rank = 0; rank < history->count; rank++) {
        struct shoal_samples_view view = {
            .struct_size = sizeof(view), .rank = rank, .size = history->count};
        struct shoal_samples_share share = {.struct_size = sizeof(share)};
        ASSERT_OK(shoal_samples_assign(history->members[rank], &view, history->indices[rank],
                                       SAMPLES_MAX, &share));
        REQUIRE(history, share.data_epoch == history->data_epoch);
        history->counts[rank] = share.count;
    }
}

static void take(struct history *history, const uint8_t *contributed)
{
    for (uint32_t rank = 0; rank < history->count; rank++) {
        for (uint64_t i = 0; contributed[rank] && i < history->counts[rank]; i++) {
            REQUIRE(history, history->indices[rank][i] < history->total);
            history->taken[history->indices[rank][i]]++;
        }
    }
}

static void check_taken(struct history *history)
{
    const struct shoal_samples_info info = info_of(history->members[0]);
    uint64_t taken = 0;
    for (uint64_t i = 0; i < history->total; i++) {
        REQUIRE(history, history->taken[i] <= 1);
        taken += history->taken[i];
    }
    if (info.data_epoch == history->data_epoch) {
        REQUIRE(history, taken == info.consumed);
        return;
    }
    REQUIRE(history, info.data_epoch == history->data_epoch + 1 && info.consumed == 0);
    REQUIRE(history, taken == history->total);
    memset(history->taken, 0, sizeof(history->taken));
    history->data_epoch++;
}

/* Most ranks commit; a straggler hears of it by the record. All end up at the same bytes. */
static void commit(struct history *history, const uint8_t *contributed)
{
    static uint8_t record[SHOAL_SAMPLES_BYTES_MAX], data[2][SHOAL_SAMPLES_BYTES_MAX];
    size_t record_bytes, bytes[2];
    uint32_t size = history->count;
    for (uint32_t rank = 0; rank < size; rank++) {
        struct shoal_samples *samples = history->members[rank];
        if (rank > 0 && draw(history, 4) == 0)
            ASSERT_OK(shoal_samples_apply(samples, record, record_bytes));
        else
            ASSERT_OK(shoal_samples_commit(samples, size, contributed, record, &record_bytes));
        ASSERT_OK(shoal_samples_save(samples, data[rank > 0], &bytes[rank > 0]));
        REQUIRE(history, rank == 0 || (bytes[0] == bytes[1] && !memcmp(data[0], data[1], *bytes)));
    }
}

static void step(struct history *history)
{
    uint8_t contributed[MEMBERS_MAX];
    uint32_t contributors = 0;
    for (uint32_t rank = 0; rank < history->count; rank++) {
        contributed[rank] = draw(history, 6) != 0;
        contributors += contributed[rank];
    }
    if (contributors == 0 || draw(history, 2) == 0) {
        memset(contributed, 1, sizeof(contributed));
        contributors = history->count;
    }
    assign_all(history);
    if (draw(history, 7) == 0)
        return; /* given up: nothing was consumed */
    take(history, contributed);
    commit(history, contributed);
    history->partial += contributors < history->count;
    /* Those that failed are gone; some were only slow, and stay. */
    for (uint32_t rank = history->count; rank-- > 0;)
        if (!contributed[rank] && history->count > 1 && draw(history, 3) > 0)
            leave(history, rank);
    check_taken(history);
}

/* ---- histories ------------------------------------------------------------------------------ */

static void begin(struct history *history, uint64_t seed)
{
    memset(history, 0, sizeof(*history));
    history->seed = history->random = seed;
    history->total = 1 + draw(history, draw(history, 2) ? SAMPLES_MAX : 12);
    if (draw(history, 3) == 0) {
        history->shard_count = 1 + draw(history, SHARDS_MAX);
        history->total = 0;
        for (uint64_t i = 0; i < history->shard_count; i++)
            history->total += history->lengths[i] = draw(history, SAMPLES_MAX / SHARDS_MAX);
        if (history->total == 0)
            history->total = history->lengths[0] = 1;
    }
    history->batch = 1 + draw(history, draw(history, 2) ? history->total : 8);
    history->mode = (enum shoal_batch_mode)draw(history, 2);
    history->count = 1 + (uint32_t)draw(history, MEMBERS_MAX);
    for (uint32_t i = 0; i < history->count; i++)
        history->members[i] = open_stream(history);
    save_checkpoint(history);
}

static void run(struct history *history, uint64_t seed)
{
    begin(history, seed);
    for (uint32_t turns = 0; history->data_epoch < DATA_EPOCHS && turns < 5000; turns++) {
        step(history);
        uint64_t event = draw(history, 40);
        if (event < 5)
            join(history);
        else if (event < 7 && history->count > 1)
            leave(history, (uint32_t)draw(history, history->count));
        else if (event < 10)
            save_checkpoint(history);
        else if (event == 10 && history->restarts < 8)
            restart(history);
    }
    REQUIRE(history, history->data_epoch == DATA_EPOCHS);
    while (history->count > 0)
        leave(history, 0);
}

static void every_sample_once(void **state)
{
    (void)state;
    static struct history history;
    uint64_t seed = shl_test_seed(), partial = 0, restarts = 0, joins = 0;
    for (uint64_t i = 0; i < 3000; i++) {
        run(&history, seed + i);
        partial += history.partial;
        restarts += history.restarts;
        joins += history.joins;
    }
    assert_true(partial > 3000 && restarts > 300 && joins > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_sample_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
