/*
 * Plans of reshards, proved by carrying out all ranks together on element numbers: every element
 * arrives in its place, from any layout to any other; no message needs a buffer; nothing is read
 * before it is there, in whatever order ready steps run; every end depends on every start; and the
 * elements that move are those whose holder changes, which is the least possible.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/reshard.h"
#include "support/fault.h"
#include "support/layouts.h"
#include "support/random.h"
#include "support/test.h"

#include <stdlib.h>

#define RANKS 64
#define TOTAL_MAX 1200
#define NOTHING UINT64_MAX

struct model {
    uint32_t holder[TOTAL_MAX];
    uint64_t place[TOTAL_MAX], held[LAYOUT_RANKS_MAX];
};

struct trial {
    uint64_t seed, random;
    uint32_t size;
    bool given;        /* runs are, instead of layouts */
    uint64_t lot_runs; /* so many given runs have the same lot; 0: none */
    uint64_t total;
    struct test_layout layouts[2];
    struct model from, to;
    struct shl_spread spreads[2];
    struct shl_schedule *schedules[RANKS];
    uint64_t *buffers[RANKS][3];          /* element numbers, by enum shl_buffer */
    uint64_t knows[RANKS], *known[RANKS]; /* whose start a rank, and a step, has heard of */
    bool *done[RANKS];
    uint64_t moved, messages;
};

#define REQUIRE(trial, condition)                                                                  \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_msg("not true: %s; trial of seed %llu, %u ranks, %llu elements", #condition,      \
                     (unsigned long long)(trial)->seed, (trial)->size,                             \
                     (unsigned long long)(trial)->total);                                          \
    } while (0)

static uint64_t *allocate(uint64_t count)
{
    uint64_t *elements = malloc((count + 1) * sizeof(*elements));
    assert_non_null(elements);
    for (uint64_t i = 0; i <= count; i++)
        elements[i] = NOTHING;
    return elements;
}

/* A run for each element. Only its two ranks know where it is there. */
static void build_given(struct trial *trial, uint32_t rank, uint64_t pack_below)
{
    static struct shl_reshard_run runs[TOTAL_MAX];
    size_t count = 0;
    for (uint64_t i = 0; i < trial->total; i++) {
        uint32_t from = trial->from.holder[i], to = trial->to.holder[i];
        if (to != LAYOUT_NOBODY)
            runs[count++] = (struct shl_reshard_run){
                .src = from == rank ? trial->from.place[i] : NOTHING / 2,
                .dst = to == rank ? trial->to.place[i] : NOTHING / 2,
                .count = 1,
                .from = from,
                .to = to,
                .lot = trial->lot_runs ? (uint32_t)(i / trial->lot_runs + 1) : 0};
    }
    ASSERT_OK(shl_runs_build(runs, count, trial->size, rank, pack_below, &trial->schedules[rank]));
}

static void open_rank(struct trial *trial, uint32_t rank, uint64_t pack_below)
{
    struct shl_reshard_shape shape = {.from = &trial->spreads[0],
                                      .to = &trial->spreads[1],
                                      .rank = rank,
                                      .pack_below = pack_below};
    if (trial->given)
        build_given(trial, rank, pack_below);
    else
        ASSERT_OK(shl_reshard_build(&shape, &trial->schedules[rank]));
    const struct shl_schedule *schedule = trial->schedules[rank];
    trial->buffers[rank][SHL_INPUT] = allocate(trial->from.held[rank]);
    trial->buffers[rank][SHL_OUTPUT] = allocate(trial->to.held[rank]);
    trial->buffers[rank][SHL_SCRATCH] = allocate(schedule->scratch_elems);
    trial->done[rank] = calloc(schedule->step_count + 1, sizeof(bool));
    trial->known[rank] = calloc(schedule->step_count + 1, sizeof(uint64_t));
    assert_true(trial->done[rank] && trial->known[rank]);
    for (uint64_t i = 0; i < trial->total; i++)
        if (trial->from.holder[i] == rank)
            trial->buffers[rank][SHL_INPUT][trial->from.place[i]] = i;
}

static void close_trial(struct trial *trial)
{
    for (uint32_t rank = 0; rank < trial->size; rank++) {
        for (int b = 0; b < 3; b++)
            free(trial->buffers[rank][b]);
        free(trial->done[rank]);
        free(trial->known[rank]);
        shl_schedule_free(trial->schedules[rank]);
    }
    shl_spread_fini(&trial->spreads[0]);
    shl_spread_fini(&trial->spreads[1]);
}

/* ---- carrying out --------------------------------------------------------------------------- */

static bool is_ready(const struct trial *trial, uint32_t rank, uint32_t index)
{
    const struct shl_schedule *schedule = trial->schedules[rank];
    const struct shl_step *step = &schedule->steps[index];
    if (trial->done[rank][index])
        return false;
    for (uint32_t d = 0; d < step->dep_count; d++) {
        uint32_t dep = schedule->deps[step->first_dep + d];
        REQUIRE(trial, dep < index);
        if (!trial->done[rank][dep])
            return false;
    }
    return true;
}

static uint64_t limit(const struct trial *trial, uint32_t rank, uint8_t buffer)
{
    return buffer == SHL_INPUT    ? trial->from.held[rank]
           : buffer == SHL_OUTPUT ? trial->to.held[rank]
                                  : trial->schedules[rank]->scratch_elems;
}

/* Everything that moves was there before, goes where nothing was, and stays within its buffer. */
static void move(struct trial *trial, uint32_t from, uint32_t from_step, uint32_t to,
                 uint32_t to_step)
{
    const struct shl_extent *out = &trial->schedules[from]->extents[from_step];
    const struct shl_extent *in = &trial->schedules[to]->extents[to_step];
    uint8_t source = trial->schedules[from]->steps[from_step].src.buffer;
    uint8_t target = trial->schedules[to]->steps[to_step].dst.buffer;
    REQUIRE(trial, out->count == in->count && target != SHL_INPUT);
    if (out->count == 0)
        return;
    REQUIRE(trial, out->src + out->count <= limit(trial, from, source));
    REQUIRE(trial, in->dst + in->count <= limit(trial, to, target));
    for (uint64_t i = 0; i < out->count; i++) {
        uint64_t element = trial->buffers[from][source][out->src + i];
        REQUIRE(trial, element != NOTHING);
        REQUIRE(trial, trial->buffers[to][target][in->dst + i] == NOTHING);
        trial->buffers[to][target][in->dst + i] = element;
    }
}

static void finish(struct trial *trial, uint32_t rank, uint32_t index, uint64_t heard)
{
    const struct shl_schedule *schedule = trial->schedules[rank];
    const struct shl_step *step = &schedule->steps[index];
    uint64_t known = heard | UINT64_C(1) << rank;
    for (uint32_t d = 0; d < step->dep_count; d++)
        known |= trial->known[rank][schedule->deps[step->first_dep + d]];
    trial->known[rank][index] = known;
    trial->knows[rank] |= known;
    trial->done[rank][index] = true;
}

/* The receive that a send meets, if it is ready; its number in array order must be the send's. */
static bool find_receiver(const struct trial *trial, uint32_t from, uint32_t index, uint32_t *found)
{
    const struct shl_step *send = &trial->schedules[from]->steps[index];
    const struct shl_schedule *schedule = trial->schedules[send->peer];
    uint32_t number = 0;
    for (uint32_t i = 0; i < schedule->step_count; i++) {
        const struct shl_step *step = &schedule->steps[i];
        if (step->kind != SHL_STEP_RECV || step->peer != from)
            continue;
        REQUIRE(trial, step->msg == number);
        if (number++ != send->msg)
            continue;
        *found = i;
        return is_ready(trial, send->peer, i);
    }
    REQUIRE(trial, !"every message has a receiver");
    return false;
}

static bool try_step(struct trial *trial, uint32_t rank, uint32_t index)
{
    const struct shl_step *step = &trial->schedules[rank]->steps[index];
    uint32_t other;
    if (!is_ready(trial, rank, index) || step->kind == SHL_STEP_RECV)
        return false;
    if (step->kind == SHL_STEP_COPY) {
        move(trial, rank, index, rank, index);
        finish(trial, rank, index, 0);
        return true;
    }
    REQUIRE(trial, step->kind == SHL_STEP_SEND && step->peer != rank);
    if (!find_receiver(trial, rank, index, &other))
        return false;
    move(trial, rank, index, step->peer, other);
    finish(trial, rank, index, 0);
    finish(trial, step->peer, other, trial->known[rank][index]);
    trial->moved += trial->schedules[rank]->extents[index].count;
    trial->messages += trial->schedules[rank]->extents[index].count > 0;
    return true;
}

/* Ranks in an order that changes, steps from the front or from the back: until nothing moves. */
static void execute(struct trial *trial)
{
    for (bool moved = true; moved;) {
        moved = false;
        uint32_t skew = (uint32_t)(shl_test_random(&trial->random) % trial->size);
        for (uint32_t i = 0; i < trial->size; i++) {
            uint32_t rank = (i + skew) % trial->size;
            uint32_t steps = trial->schedules[rank]->step_count;
            bool backwards = shl_test_random(&trial->random) % 2;
            for (uint32_t k = 0; k < steps; k++)
                moved |= try_step(trial, rank, backwards ? steps - 1 - k : k);
        }
    }
}

static void verify(struct trial *trial)
{
    uint64_t least = 0,
             everybody = trial->size == 64 ? UINT64_MAX : (UINT64_C(1) << trial->size) - 1;
    for (uint32_t rank = 0; rank < trial->size; rank++) {
        for (uint32_t i = 0; i < trial->schedules[rank]->step_count; i++)
            REQUIRE(trial, trial->done[rank][i]);
        if (trial->size > 1)
            REQUIRE(trial, trial->knows[rank] == everybody);
    }
    for (uint64_t i = 0; i < trial->total; i++) {
        uint32_t to = trial->to.holder[i];
        if (to == LAYOUT_NOBODY)
            continue;
        REQUIRE(trial, trial->buffers[to][SHL_OUTPUT][trial->to.place[i]] == i);
        least += trial->from.holder[i] != to;
    }
    REQUIRE(trial, trial->moved == least);
}

/* ---- trials --------------------------------------------------------------------------------- */

static void begin(struct trial *trial, uint64_t seed, uint32_t size, uint64_t total_max)
{
    memset(trial, 0, sizeof(*trial));
    trial->seed = trial->random = seed;
    trial->size = size;
    trial->total = shl_test_random(&trial->random) % (total_max + 1);
    test_layout_draw(&trial->random, trial->total, size, true, &trial->layouts[0]);
    test_layout_draw(&trial->random, trial->total, size, false, &trial->layouts[1]);
}

static void run(struct trial *trial, uint64_t pack_below)
{
    const struct shoal_layout *from = &trial->layouts[0].layout, *to = &trial->layouts[1].layout;
    test_layout_model(from, trial->total, trial->size, trial->from.holder, trial->from.place,
                      trial->from.held);
    test_layout_model(to, trial->total, trial->size, trial->to.holder, trial->to.place,
                      trial->to.held);
    ASSERT_OK(shl_spread_init(&trial->spreads[0], from, trial->total, trial->size, "from"));
    ASSERT_OK(shl_spread_init(&trial->spreads[1], to, trial->total, trial->size, "to"));
    for (uint32_t rank = 0; rank < trial->size; rank++)
        open_rank(trial, rank, pack_below);
    execute(trial);
    verify(trial);
}

static void any_layout_to_any(void **state)
{
    (void)state;
    static struct trial trial;
    uint64_t seed = shl_test_seed();
    for (uint64_t i = 0; i < 1500; i++) {
        begin(&trial, seed + i, 1 + (uint32_t)(i % 11), i % 3 == 0 ? TOTAL_MAX : 60);
        run(&trial, i % 4 * 7);
        close_trial(&trial);
    }
}

static void runs_that_are_given(void **state)
{
    (void)state;
    static struct trial trial;
    uint64_t seed = shl_test_seed();
    for (uint64_t i = 0; i < 200; i++) {
        begin(&trial, seed + i, 1 + (uint32_t)(i % 9), 300);
        trial.given = true;
        trial.lot_runs = i % 4 * 25;
        run(&trial, i % 3);
        close_trial(&trial);
    }
}

static void too_many_given(void **state)
{
    (void)state;
    struct shl_schedule *schedule;
    ASSERT_STATUS(SHOAL_ERR_UNSUPPORTED,
                  shl_runs_build(NULL, SHL_RESHARD_RUNS_MAX + 1, 2, 0, 8, &schedule));
}

static void many_ranks(void **state)
{
    (void)state;
    static struct trial trial;
    uint64_t seed = shl_test_seed();
    for (uint64_t i = 0; i < 12; i++) {
        begin(&trial, seed + i, 64 - (uint32_t)i % 4, TOTAL_MAX);
        run(&trial, 8);
        close_trial(&trial);
    }
}

/* Short runs of a pair are one message; long ones are not copied. */
static void packing(void **state)
{
    (void)state;
    static struct trial trial;
    for (int packed = 0; packed < 2; packed++) {
        begin(&trial, 1, 3, 0);
        trial.total = 600;
        trial.layouts[0].layout = (struct shoal_layout){.kind = SHOAL_LAYOUT_CYCLIC, .block = 10};
        trial.layouts[1].layout = (struct shoal_layout){.kind = SHOAL_LAYOUT_BLOCK};
        run(&trial, packed ? 11 : 10);
        assert_int_equal(trial.moved, 400);
        assert_int_equal(trial.messages, packed ? 6 : 40);
        assert_int_equal(trial.schedules[0]->scratch_elems > 0, packed);
        close_trial(&trial);
    }
}

/* A lot of a pair is one message, which is copied only where it does not lie together. */
static void lots(void **state)
{
    (void)state;
    static struct trial trial;
    const struct shoal_span all_to_one[] = {{0, 600, 1}};
    const struct shoal_layout block = {.kind = SHOAL_LAYOUT_BLOCK},
                              cyclic = {.kind = SHOAL_LAYOUT_CYCLIC, .block = 10},
                              one = {
                                  .kind = SHOAL_LAYOUT_SPANS, .spans = all_to_one, .span_count = 1};
    const struct {
        struct shoal_layout from, to;
        uint64_t moved, messages, scratch; /* of all ranks */
    } cases[] = {
        {cyclic, block, 400, 6, 400}, {block, cyclic, 400, 6, 400}, {block, one, 400, 2, 0}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t scratch = 0;
        begin(&trial, 1, 3, 0);
        trial.total = 600;
        trial.layouts[0].layout = cases[i].from;
        trial.layouts[1].layout = cases[i].to;
        trial.given = true;
        trial.lot_runs = trial.total;
        run(&trial, 0);
        for (uint32_t rank = 0; rank < trial.size; rank++)
            scratch += trial.schedules[rank]->scratch_elems;
        assert_int_equal(trial.moved, cases[i].moved);
        assert_int_equal(trial.messages, cases[i].messages);
        assert_int_equal(scratch, cases[i].scratch);
        close_trial(&trial);
    }
}

/* The same layout twice moves nothing; tokens alone go round. */
static void nothing_to_move(void **state)
{
    (void)state;
    static struct trial trial;
    begin(&trial, 1, 5, 0);
    trial.total = 100;
    trial.layouts[0].layout = trial.layouts[1].layout =
        (struct shoal_layout){.kind = SHOAL_LAYOUT_CYCLIC, .block = 3};
    run(&trial, 8);
    assert_int_equal(trial.messages, 0);
    close_trial(&trial);
}

/* ---- what cannot be planned ----------------------------------------------------------------- */

static enum shoal_status build(const struct shoal_layout *from, const struct shoal_layout *to,
                               uint64_t total)
{
    struct shl_spread spreads[2] = {{0}, {0}};
    struct shl_schedule *schedule = NULL;
    struct shl_reshard_shape shape = {
        .from = &spreads[0], .to = &spreads[1], .rank = 1, .pack_below = 8};
    enum shoal_status status = shl_spread_init(&spreads[0], from, total, 4, "from");
    if (status == SHOAL_OK)
        status = shl_spread_init(&spreads[1], to, total, 4, "to");
    if (status == SHOAL_OK)
        status = shl_reshard_build(&shape, &schedule);
    shl_schedule_free(schedule);
    shl_spread_fini(&spreads[1]);
    shl_spread_fini(&spreads[0]);
    return status;
}

static void an_element_that_nobody_has(void **state)
{
    (void)state;
    const struct shoal_span spans[] = {{0, 40, 0}, {41, 59, 3}};
    struct shoal_layout from = {.kind = SHOAL_LAYOUT_SPANS, .spans = spans, .span_count = 2};
    struct shoal_layout to = {.kind = SHOAL_LAYOUT_BLOCK};
    ASSERT_STATUS(SHOAL_ERR_INVALID, build(&from, &to, 100));
    ASSERT_DETAIL("element 40 is to go to rank 1, but nobody has it");
    /* It may stay nobody's. */
    ASSERT_OK(build(&from, &from, 100));
}

static void too_many_runs(void **state)
{
    (void)state;
    struct shoal_layout from = {.kind = SHOAL_LAYOUT_CYCLIC, .block = 1};
    struct shoal_layout to = {.kind = SHOAL_LAYOUT_BLOCK};
    ASSERT_STATUS(SHOAL_ERR_UNSUPPORTED, build(&from, &to, UINT64_C(1) << 60));
    ASSERT_DETAIL("use larger blocks");
}

static enum shoal_status build_packed(void *arg)
{
    struct shoal_layout from = {.kind = SHOAL_LAYOUT_CYCLIC, .block = 1};
    struct shoal_layout to = {.kind = SHOAL_LAYOUT_BLOCK};
    (void)arg;
    return build(&from, &to, 1000);
}

static void without_memory(void **state)
{
    (void)state;
    assert_true(shl_fault_sweep(SHL_FAULT_ALL, build_packed, NULL, 100) >= 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_layout_to_any), cmocka_unit_test(runs_that_are_given),
        cmocka_unit_test(too_many_given),    cmocka_unit_test(many_ranks),
        cmocka_unit_test(packing),           cmocka_unit_test(lots),
        cmocka_unit_test(nothing_to_move),   cmocka_unit_test(an_element_that_nobody_has),
        cmocka_unit_test(too_many_runs),     cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
