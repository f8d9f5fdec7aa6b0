/*
 * The membership core under thousands of seeded schedules of faults. What must hold at each step is
 * checked by the world; here are the schedules, and that the job goes on when faults cease.
 *
 * SHOAL_TEST_SEED repeats one schedule; SHOAL_SIM_SCHEDULES sets how many run, and SHOAL_SIM_FIRST
 * the seed of the first.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim/membership_acts.h"

#include <malloc.h>
#include <stdlib.h>

#define DEATHS_SHOW_MS 300 /* after the faults: silence, and a round of messages about it */

static uint32_t alive_members(struct world *world, bool that_may_write)
{
    const struct shl_record *record = &world->store.record;
    uint32_t count = 0;
    for (uint32_t i = 0; world->store.has_record && i < record->view.count; i++) {
        uint64_t id = record->view.at[i].id;
        bool writes = record->phase != SHL_PHASE_PREPARED ||
                      shl_members_find(&record->next, id) != SHL_MEMBER_NONE;
        count += world->lives[world_life_of(world, id)]->running && (writes || !that_may_write);
    }
    return count;
}

/* The policy lets those who are left go on. */
static bool can_go_on(struct world *world)
{
    uint32_t alive = alive_members(world, false);
    if (!world->store.has_record || world->store.record.phase == SHL_PHASE_FORMING)
        return false;
    if (alive < world->options.min || !alive_members(world, true))
        return false;
    return world->options.policy == SHL_PARTITION_ANY ||
           2 * alive >= world->store.record.view.count;
}

/* ---- faults --------------------------------------------------------------------------------- */

static void partition(struct world *world, uint64_t ns)
{
    uint64_t side = world_random(world, 1u << world->options.slots);
    for (uint32_t a = 0; a < world->options.slots; a++)
        for (uint32_t b = 0; b < world->options.slots; b++)
            if ((side >> a & 1) != (side >> b & 1))
                world_cut(world, a, b, false, ns);
}

static void one_fault(struct world *world)
{
    uint32_t slot = (uint32_t)world_random(world, world->options.slots);
    uint32_t other = (uint32_t)world_random(world, world->options.slots);
    struct world_life *life = world_in_slot(world, slot);
    uint64_t ns = (30 + world_random(world, 700)) * WORLD_MS;
    switch (world_random(world, 9)) {
    case 0:
    case 1:
        /* Without a majority the job rightly ends; most schedules should go on. */
        if (life && life->core && 2 * alive_members(world, false) > world->store.record.view.count)
            world_crash(world, life->number);
        break;
    case 2:
        if (life)
            life->stopped_until_ns = world->now_ns + ns;
        break;
    case 3:
        if (slot != other)
            world_cut(world, slot, other, false, ns);
        break;
    case 4:
        if (slot != other)
            world_cut(world, slot, other, true, ns);
        break;
    case 5:
        partition(world, ns);
        break;
    case 6:
        world->store.down_until_ns = world->now_ns + ns;
        break;
    case 7:
        world->store_cut_until_ns[slot] = world->now_ns + ns;
        break;
    default:
        if (life && life->epoch && alive_members(world, false) > world->options.min + 1)
            shl_membership_leave(life->core, world->now_ns);
        else if (!life && !world->options.no_restart && world->current[slot] == WORLD_LIVES_MAX)
            world_start(world, slot, 0, 0);
    }
}

static void heal(struct world *world)
{
    world->calm = true;
    world->store.down_until_ns = 0;
    for (uint32_t a = 0; a < world->options.slots; a++) {
        world->store_cut_until_ns[a] = 0;
        for (uint32_t b = 0; b < world->options.slots; b++)
            world->cut_until_ns[a][b] = 0;
    }
    for (uint32_t i = 0; i < world->life_count; i++)
        if (world->lives[i]->stopped_until_ns > world->now_ns)
            world->lives[i]->stopped_until_ns = world->now_ns;
}

struct tally {
    uint32_t schedules, live, commits, evictions, leaves, failures, retries, redone, forwarded;
    uint32_t wishes, late, uneven;
};

static void count(struct tally *tally, const struct world *world)
{
    tally->schedules++;
    tally->commits += world->commits;
    tally->evictions += world->evictions;
    tally->leaves += world->leaves;
    tally->failures += world->failures;
    tally->retries += world->retries;
    tally->redone += world->redone;
    tally->forwarded += world->forwarded;
    tally->wishes += world->wishes;
    tally->late += world->late;
    tally->uneven += world->uneven;
}

static struct world_options any_options(uint64_t seed)
{
    uint64_t random = seed * 2 + 1;
    uint64_t r = shl_test_random(&random);
    uint32_t slots = 2 + (uint32_t)(r % 5);
    return (struct world_options){
        .seed = seed,
        .slots = slots,
        .start = 1 + (uint32_t)(r >> 8) % slots,
        .min = 1,
        .max = slots,
        .mode = r >> 16 & 1 ? SHL_STEP_RETAIN : SHL_STEP_ABORT,
        .policy = (r >> 17 & 7) == 0 ? SHL_PARTITION_ANY : SHL_PARTITION_MAJORITY,
        .loose = r >> 20 & 1,
        .optimistic = r >> 21 & 1,
        .bad_paths = r >> 22 & 1,
        .drivers_die = (r >> 23 & 3) == 0,
    };
}

static bool is_writing(const struct world *world, uint64_t order)
{
    for (size_t i = 0; i < world->heap_count; i++)
        if (world->heap[i].order < order && world->heap[i].event->kind == WORLD_REQUEST &&
            world->heap[i].event->request.swap)
            return true;
    return false;
}

/* Of those that the proposal in the register needs, too few live for the change after it. */
static bool is_proposal_too_weak(const struct world *world)
{
    const struct shl_record *record = &world->store.record;
    uint32_t alive = 0;
    for (uint32_t i = 0; i < record->next.count; i++)
        alive += world->lives[world_life_of(world, record->next.at[i].id)]->running;
    return record->phase == SHL_PHASE_PREPARED && 2 * alive < record->next.count;
}

/* Its writer may commit such a proposal as long as it cannot know: until the deaths have shown. */
static bool was_committed_unknowing(struct world *world)
{
    uint64_t epoch = world->store.record.epoch;
    if (world->options.policy == SHL_PARTITION_ANY || !is_proposal_too_weak(world))
        return false;
    world_run_for(world, DEATHS_SHOW_MS);
    return world->store.record.view_epoch == epoch;
}

/* Writes that are late take effect after the faults, those of the dead too, and may leave a view
 * that has no majority of the living or a proposal that none of them is in. */
static bool can_go_on_after_writes(struct world *world)
{
    uint64_t order = world->order;
    if (!can_go_on(world))
        return false;
    if (is_writing(world, order)) {
        while (is_writing(world, order))
            world_run_for(world, 20);
        if (!can_go_on(world))
            return false;
    }
    return !was_committed_unknowing(world);
}

/* What was sent before, and those that the faults took for dead, come to rest. One schedule of 16
 * goes on for as long as that could take, the others until it is so and a little longer: most of a
 * schedule's events would be steps of a healthy job. Returns how long steps may take after it. */
static uint64_t come_to_rest(struct world *world)
{
    uint64_t order = world->order, end_ns = world->now_ns + 4 * WORLD_SECOND;
    bool whole = world->options.seed % 16 == 0;
    while (world->now_ns < end_ns && (whole || !world_at_rest(world, order)))
        world_run_for(world, 20);
    world_run_for(world, 50);
    return whole ? 1000 : 50;
}

static void one_schedule(const struct world_options *options, struct tally *tally)
{
    struct world *world = world_open(options);
    world_run(world, 200 * WORLD_MS);
    uint32_t faults = 1 + (uint32_t)world_random(world, 6);
    for (uint32_t i = 0; i < faults; i++) {
        one_fault(world);
        world_run(world, world->now_ns + world_random(world, 300) * WORLD_MS);
        world_wish(world);
        world_be_late(world);
    }
    heal(world);
    bool live = can_go_on_after_writes(world);
    uint64_t ms = come_to_rest(world), steps = world->steps_done;
    world_run_for(world, ms);
    if (live) {
        world_check_alive(world, steps);
        tally->live++;
    }
    count(tally, world);
    world_close(world);
}

/* Schedules that once failed: commits of views in which too few were left, joiners among the dead
 * (the first four), the last member of a job making view after view, since it wants to leave, and a
 * proposal that was written so late that its writer had stopped looking (the last). */
static void schedules_that_failed(void **state)
{
    (void)state;
    static const uint64_t seeds[] = {17447, 72557, 104062, 384638, 127644, 147849, 3045095};
    struct tally tally = {0};
    for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++) {
        struct world_options options = any_options(seeds[i]);
        one_schedule(&options, &tally);
    }
    assert_int_equal(tally.live, sizeof(seeds) / sizeof(seeds[0]));
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *given = getenv(name);
    return given ? strtoull(given, NULL, 0) : otherwise;
}

static void schedules_of_faults(void **state)
{
    (void)state;
    const char *seed_given = getenv("SHOAL_TEST_SEED");
    uint32_t schedules = (uint32_t)number_from("SHOAL_SIM_SCHEDULES", SIM_SCHEDULES);
    uint64_t first = number_from("SHOAL_SIM_FIRST", 1);
    struct tally tally = {0};
    if (seed_given)
        schedules = 1;
    for (uint32_t i = 0; i < schedules; i++) {
        struct world_options options =
            any_options(seed_given ? strtoull(seed_given, NULL, 0) : first + i);
        options.told = seed_given != NULL;
        one_schedule(&options, &tally);
    }
    print_message("%u schedules, %u could go on and did: %u views, %u evicted, %u left; operations "
                  "%u redone, %u forwarded, %u failed, %u steps retried, %u wishes for that; %u "
                  "deadlines passed, %u members "
                  "heard that others were done\n",
                  tally.schedules, tally.live, tally.commits, tally.evictions, tally.leaves,
                  tally.redone, tally.forwarded, tally.failures, tally.retries, tally.wishes,
                  tally.late, tally.uneven);
    if (seed_given)
        return;
    assert_true(tally.live > schedules / 2);
    if (schedules >= 500) /* the schedules reach what they are meant to */
        assert_true(tally.evictions && tally.leaves && tally.failures && tally.retries &&
                    tally.redone && tally.forwarded && tally.wishes && tally.late && tally.uneven);
}

/* ---- the checks themselves ------------------------------------------------------------------ */

static void same_seed_same_course(void **state)
{
    (void)state;
    uint64_t traces[2];
    for (unsigned i = 0; i < 2; i++) {
        struct world_options options = any_options(7);
        struct world *world = world_open(&options);
        for (unsigned fault = 0; fault < 5; fault++) {
            one_fault(world);
            world_run_for(world, 200);
        }
        traces[i] = world->trace ^ world->events_run;
        world_close(world);
    }
    assert_int_equal(traces[0], traces[1]);
}

/* A member stops for about as long as it takes to evict it, and goes on with what it was doing. */
static uint32_t zombies(enum world_broken_rule rule)
{
    uint32_t found = 0;
    for (uint64_t ms = 100; ms < 220; ms++) {
        struct world_options options = world_plain(4);
        options.seed = ms;
        options.loose = options.optimistic = true;
        options.broken = rule;
        struct world *world = world_formed(&options);
        world->lives[ms % 4]->stopped_until_ns = world->now_ns + ms * WORLD_MS;
        world_run_for(world, 600);
        found += world->troubles > 0;
        world_close(world);
    }
    return found;
}

static uint32_t troubles(enum world_broken_rule rule)
{
    struct tally tally = {0};
    uint32_t found = 0;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct world_options options = any_options(seed);
        options.broken = rule;
        options.optimistic = true;
        options.mode = SHL_STEP_RETAIN;
        struct world *world = world_open(&options);
        world_run(world, 200 * WORLD_MS);
        for (uint32_t i = 0; i < 6 && !world->troubles; i++) {
            one_fault(world);
            for (uint32_t late = 0; late < 20; late++) {
                world_run_for(world, 10);
                world_be_late(world);
            }
        }
        found += world->troubles > 0;
        count(&tally, world);
        world_close(world);
    }
    return found;
}

static void broken_rules_are_noticed(void **state)
{
    (void)state;
    assert_int_equal(troubles(WORLD_RULES_KEPT), 0);
    assert_int_equal(zombies(WORLD_RULES_KEPT), 0);
    assert_true(zombies(WORLD_NO_FENCE) > 0);
    assert_true(troubles(WORLD_NO_ROUND) > 0);
    assert_true(troubles(WORLD_NO_STEP_RETENTION) > 0);
    assert_true(troubles(WORLD_NO_STATEMENTS) > 0);
}

int main(void)
{
    /* A core has room for 1,024 members, and here there are six: pages that nobody touches are not
     * to be cleared for every life. */
    mallopt(M_MMAP_THRESHOLD, 64 * 1024);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_seed_same_course),
        cmocka_unit_test(broken_rules_are_noticed),
        cmocka_unit_test(schedules_that_failed),
        cmocka_unit_test(schedules_of_faults),
    };
    return cmocka_run_group_tests_name("membership_sim", tests, NULL, NULL);
}
