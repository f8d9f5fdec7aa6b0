/*
 * Samples and sharded state together over the histories that the membership core makes of random
 * failures, joins and leaves: what members of a simulated job see decides who reads what and who
 * holds what, by the functions that a real job uses.
 *
 *   samples  every one is consumed exactly once in a data epoch, and all members agree on shares
 *   shards   every one has its copies, of the last version, unless all who held it were lost
 *   bytes    what is moved at a change is the least for it, within 5 %
 *
 * SHOAL_TEST_SEED repeats a run.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim/membership_acts.h"
#include "support/random.h"

#include <shoal/shoal.h>
#include <stdlib.h>

#define SCHEDULES 60
#define SAMPLES 97
#define SHARDS 96u
#define SLACK 2 /* copies, beside 5 % of the least: parts are no whole numbers */

struct step_seen {
    uint64_t parties, contributors; /* lives */
};

/* Lives are told apart by their numbers; each is on a host of its own. */
struct history {
    struct world *world;
    uint64_t parties[WORLD_LIVES_MAX]; /* of the next step, as that life knows them */
    uint64_t steps;                    /* that somebody has seen committed */
    struct step_seen seen[WORLD_STEPS];

    struct shoal_samples *samples;
    uint8_t taken[SAMPLES]; /* in this data epoch */
    uint64_t data_epoch, epochs_read;

    uint32_t width;
    uint64_t holders[SHARDS * 3], before[SHARDS * 3]; /* life + 1; 0: nobody */
    uint64_t version[WORLD_LIVES_MAX][SHARDS];        /* step; of whoever holds it */
    uint64_t placed;                                  /* lives */
    uint64_t changes, copies, least, lost;
};

/* ---- samples -------------------------------------------------------------------------------- */

static uint32_t rank_of(uint64_t lives, uint32_t life)
{
    return (uint32_t)__builtin_popcountll(lives & (world_bit(life) - 1));
}

static void take_share(struct history *history, uint64_t parties, uint32_t life)
{
    struct shoal_samples_view view = {.struct_size = sizeof(view),
                                      .rank = rank_of(parties, life),
                                      .size = (uint32_t)__builtin_popcountll(parties)};
    struct shoal_samples_share share = {.struct_size = sizeof(share)};
    uint64_t indices[SAMPLES];
    ASSERT_OK(shoal_samples_assign(history->samples, &view, indices, SAMPLES, &share));
    for (uint64_t i = 0; i < share.count; i++)
        WORLD_CHECK(history->world, ++history->taken[indices[i]] == 1,
                    "sample %llu is read again\n", (unsigned long long)indices[i]);
}

static void end_data_epoch(struct history *history)
{
    struct shoal_samples_info info = {.struct_size = sizeof(info)};
    ASSERT_OK(shoal_samples_info(history->samples, &info));
    if (info.data_epoch == history->data_epoch)
        return;
    for (unsigned i = 0; i < SAMPLES; i++)
        WORLD_CHECK(history->world, history->taken[i] == 1, "sample %u was never read\n", i);
    memset(history->taken, 0, sizeof(history->taken));
    history->data_epoch = info.data_epoch;
    history->epochs_read++;
}

static void consume(struct history *history, const struct step_seen *step)
{
    uint8_t flags[WORLD_LIVES_MAX] = {0};
    for (uint32_t life = 0; life < WORLD_LIVES_MAX; life++) {
        if (!(step->parties & step->contributors & world_bit(life)))
            continue;
        take_share(history, step->parties, life);
        flags[rank_of(step->parties, life)] = 1;
    }
    ASSERT_OK(shoal_samples_commit(history->samples, (uint32_t)__builtin_popcountll(step->parties),
                                   flags, NULL, NULL));
    end_data_epoch(history);
}

/* ---- shards --------------------------------------------------------------------------------- */

static bool is_in(uint64_t lives, uint64_t holder)
{
    return holder && lives & world_bit((uint32_t)holder - 1);
}

static uint32_t count_in(const struct history *history, const uint64_t *row, uint64_t lives)
{
    uint32_t count = 0;
    for (uint32_t k = 0; k < history->width; k++)
        count += is_in(lives, row[k]);
    return count;
}

static uint64_t count_of(const struct history *history, uint32_t life)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < SHARDS * history->width; i++)
        count += history->before[i] == life + 1;
    return count;
}

/* No way to give every shard its copies and every member its part makes fewer. */
static uint64_t least_copies(const struct history *history, uint64_t lives, uint32_t copies)
{
    uint64_t missing = 0, wanting = 0;
    uint64_t part = (uint64_t)SHARDS * copies / (uint64_t)__builtin_popcountll(lives);
    for (uint32_t s = 0; s < SHARDS; s++)
        missing += copies - count_in(history, &history->before[s * history->width], lives);
    for (uint32_t life = 0; life < WORLD_LIVES_MAX; life++) {
        uint64_t has = lives & world_bit(life) ? count_of(history, life) : part;
        wanting += has < part ? part - has : 0;
    }
    return missing > wanting ? missing : wanting;
}

/* A holder that is new gets it from one that was, in the version that counts. */
static uint32_t bring(struct history *history, uint32_t shard, uint64_t lives)
{
    const uint64_t *row = &history->holders[shard * history->width];
    const uint64_t *before = &history->before[shard * history->width];
    uint64_t version = UINT64_MAX;
    for (uint32_t k = 0; k < history->width && version == UINT64_MAX; k++)
        if (is_in(lives, before[k]))
            version = history->version[before[k] - 1][shard];
    bool lost = version == UINT64_MAX && before[0];
    for (uint32_t k = 0; k < history->width && row[k]; k++) {
        bool had = false;
        for (uint32_t j = 0; j < history->width; j++)
            had |= before[j] == row[k];
        if (!had && version != UINT64_MAX)
            history->version[row[k] - 1][shard] = version;
        else if (lost || !before[0]) /* the program writes it anew, or it is the first */
            history->version[row[k] - 1][shard] = history->steps;
    }
    return lost;
}

static void place(struct history *history, uint64_t lives)
{
    struct shoal_member members[WORLD_LIVES_MAX];
    struct shoal_place_options options = {.struct_size = sizeof(options),
                                          .shards = SHARDS,
                                          .replicas = history->width - 1,
                                          .members = members};
    struct shoal_place_result result = {.struct_size = sizeof(result)};
    for (uint32_t life = 0; life < WORLD_LIVES_MAX; life++)
        if (lives & world_bit(life))
            members[options.member_count++] = (struct shoal_member){life + 1, life + 1};
    memcpy(history->before, history->holders, sizeof(history->before));
    ASSERT_OK(shoal_place(&options, history->holders, &result));
    uint32_t copies = history->width < options.member_count ? history->width : options.member_count;
    uint64_t lost = 0;
    for (uint32_t s = 0; s < SHARDS; s++) {
        WORLD_CHECK(history->world,
                    count_in(history, &history->holders[s * history->width], lives) == copies,
                    "shard %u has not its %u copies\n", s, copies);
        lost += bring(history, s, lives);
    }
    uint64_t least = least_copies(history, lives, copies);
    WORLD_CHECK(history->world, result.lost == lost, "%llu shards are lost, not %llu\n",
                (unsigned long long)lost, (unsigned long long)result.lost);
    if (history->placed && !lost) {
        WORLD_CHECK(history->world,
                    result.copies >= least && result.copies <= least + least / 20 + SLACK,
                    "%llu copies are moved, the least is %llu\n", (unsigned long long)result.copies,
                    (unsigned long long)least);
        history->copies += result.copies;
        history->least += least;
    }
    history->lost += lost;
    history->changes += history->placed != 0;
    history->placed = lives;
}

/* All who hold a shard have what the step before made, and go on to what this one makes. */
static void refresh(struct history *history, uint64_t lives)
{
    if (lives != history->placed)
        place(history, lives);
    for (uint32_t s = 0; s < SHARDS; s++)
        for (uint32_t k = 0; k < history->width; k++) {
            uint64_t holder = history->holders[s * history->width + k];
            if (!holder)
                continue;
            uint64_t *version = &history->version[holder - 1][s];
            WORLD_CHECK(history->world, *version == history->steps,
                        "life %llu has version %llu of shard %u after %llu steps\n",
                        (unsigned long long)holder - 1, (unsigned long long)*version, s,
                        (unsigned long long)history->steps);
            *version = history->steps + 1;
        }
}

/* ---- what the core tells -------------------------------------------------------------------- */

static void committed(void *arg, const struct world_life *life, uint64_t contributors)
{
    struct history *history = arg;
    struct step_seen step = {history->parties[life->number], contributors};
    history->parties[life->number] = contributors;
    WORLD_CHECK(history->world, life->step <= history->steps + 1, "a step is missing\n");
    struct step_seen *seen = &history->seen[life->step];
    if (life->step == history->steps + 1) {
        *seen = step;
        consume(history, &step);
        refresh(history, contributors);
        history->steps++;
    }
    WORLD_CHECK(history->world, seen->parties == step.parties && seen->contributors == contributors,
                "life %u shares step %llu out among other members\n", life->number,
                (unsigned long long)life->step);
}

/* As views/streams.c does. */
static void published(void *arg, const struct world_life *life, const struct shl_record *record,
                      uint64_t before)
{
    struct history *history = arg;
    bool joined = life->members & ~before;
    if (!before || joined || record->decision.retry)
        history->parties[life->number] = life->members;
}

/* ---- schedules ------------------------------------------------------------------------------ */

static uint32_t alive_count(const struct world *world)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < world->life_count; i++)
        count += world->lives[i]->running && world->lives[i]->epoch;
    return count;
}

static void one_event(struct world *world)
{
    uint32_t slot = (uint32_t)world_random(world, world->options.slots);
    struct world_life *life = world_in_slot(world, slot);
    uint64_t ns = (30 + world_random(world, 700)) * WORLD_MS;
    bool spare = 2 * alive_count(world) > world->options.slots;
    switch (world_random(world, 5)) {
    case 0:
    case 1:
        if (life && life->core && spare)
            world_crash(world, life->number);
        break;
    case 2:
        if (life)
            life->stopped_until_ns = world->now_ns + ns;
        break;
    case 3:
        if (life && life->epoch && spare)
            shl_membership_leave(life->core, world->now_ns);
        break;
    default:
        if (!life && world->current[slot] == WORLD_LIVES_MAX &&
            world->life_count + 2 < WORLD_LIVES_MAX)
            world_start(world, slot, 0, 0);
    }
}

static void run(struct history *history, uint64_t seed)
{
    uint64_t random = seed;
    uint64_t r = shl_test_random(&random);
    struct world_options options = world_plain(3 + (uint32_t)(r % 5));
    struct world_observer observer = {
        .arg = history, .committed = committed, .published = published};
    struct shoal_samples_options samples = {.struct_size = sizeof(samples),
                                            .seed = seed,
                                            .samples = SAMPLES,
                                            .batch = 1 + (r >> 8) % 9,
                                            .mode = (enum shoal_batch_mode)(r >> 16 & 1)};
    options.seed = seed;
    options.mode = r >> 17 & 1 ? SHL_STEP_RETAIN : SHL_STEP_ABORT;
    options.bad_paths = r >> 18 & 1;
    memset(history, 0, sizeof(*history));
    history->width = 2 + (r >> 19 & 1);
    ASSERT_OK(shoal_samples_create(&samples, &history->samples));
    history->world = world_open(&options);
    history->world->observer = &observer;
    for (unsigned i = 0; i < 25; i++) {
        world_run_for(history->world, 40 + world_random(history->world, 160));
        one_event(history->world);
        world_wish(history->world);
    }
    world_run_for(history->world, 500);
    world_close(history->world);
    shoal_samples_destroy(history->samples);
}

static void samples_and_shards_follow(void **state)
{
    (void)state;
    static struct history history;
    uint64_t seed = shl_test_seed(), changes = 0, copies = 0, least = 0, epochs = 0, lost = 0;
    for (uint64_t i = 0; i < SCHEDULES; i++) {
        run(&history, seed + i);
        changes += history.changes;
        copies += history.copies;
        least += history.least;
        epochs += history.epochs_read;
        lost += history.lost;
    }
    print_message("%d histories: %llu changes of members, %llu data epochs, %llu shards lost with "
                  "all who held them; %llu copies moved, the least is %llu\n",
                  SCHEDULES, (unsigned long long)changes, (unsigned long long)epochs,
                  (unsigned long long)lost, (unsigned long long)copies, (unsigned long long)least);
    assert_true(changes > 2 * SCHEDULES && epochs > SCHEDULES);
    assert_true(copies <= least + least / 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(samples_and_shards_follow)};
    return cmocka_run_group_tests_name("elastic_history", tests, NULL, NULL);
}
