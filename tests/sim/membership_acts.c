/*
 * See membership_acts.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim/membership_acts.h"

uint64_t world_bit(uint32_t life)
{
    return 1ull << life;
}

void world_cut(struct world *world, uint32_t a, uint32_t b, bool both, uint64_t ns)
{
    world->cut_until_ns[a][b] = world->now_ns + ns;
    if (both)
        world->cut_until_ns[b][a] = world->now_ns + ns;
}

void world_wish(struct world *world)
{
    struct world_life *life =
        world_in_slot(world, (uint32_t)world_random(world, world->options.slots));
    if (!life || !life->epoch || life->fenced_for || world->options.loose || !life->in_step ||
        life->commit_open || life->stopped_until_ns > world->now_ns)
        return;
    world->wishes++;
    life->gives_up = true;
    shl_membership_decide(life->core, world->now_ns);
}

void world_be_late(struct world *world)
{
    struct world_life *life =
        world_in_slot(world, (uint32_t)world_random(world, world->options.slots));
    if (life && world->options.loose && life->stopped_until_ns <= world->now_ns)
        world->late += world_engine_expire(life);
}

static void tell_progress(struct world *world)
{
    for (uint32_t i = 0; i < world->life_count; i++) {
        const struct world_life *life = world->lives[i];
        if (!life->running || !life->epoch)
            continue;
        WORLD_SAY(world,
                  "life %u: epoch %llu, operations %llu begun, %llu settled, %u not "
                  "returned; %llu of step %llu%s%s%s\n",
                  i, (unsigned long long)life->epoch, (unsigned long long)life->started,
                  (unsigned long long)life->settled, life->unreturned,
                  (unsigned long long)life->in_step, (unsigned long long)life->step + 1,
                  life->commit_open ? ", committing" : "", life->fenced_for ? ", fenced" : "",
                  shl_membership_at_boundary(life->core) ? ", at a boundary" : "");
    }
}

/* Steps go on, in one view that all its members share. */
void world_check_alive(struct world *world, uint64_t steps_before)
{
    uint64_t epoch = 0, members = 0;
    for (uint32_t i = 0; i < world->life_count; i++) {
        struct world_life *life = world->lives[i];
        if (!life->running || !life->epoch)
            continue;
        WORLD_CHECK(world, !epoch || epoch == life->epoch, "life %u is in epoch %llu, not %llu\n",
                    i, (unsigned long long)life->epoch, (unsigned long long)epoch);
        epoch = life->epoch;
        members |= world_bit(i);
    }
    WORLD_CHECK(world, epoch == world->store.record.view_epoch, "nobody is in the last view\n");
    for (uint32_t i = 0; i < world->life_count; i++)
        if (members & world_bit(i))
            WORLD_CHECK(world, world->lives[i]->members == members,
                        "life %u has a member that is gone\n", i);
    tell_progress(world);
    WORLD_CHECK(world, world->steps_done > steps_before, "no step since the faults ceased\n");
}

struct world_options world_plain(uint32_t slots)
{
    return (struct world_options){.seed = 42 + slots,
                                  .slots = slots,
                                  .start = slots,
                                  .min = 1,
                                  .max = slots,
                                  .mode = SHL_STEP_RETAIN,
                                  .policy = SHL_PARTITION_MAJORITY};
}

void world_run_for(struct world *world, uint64_t ms)
{
    world_run(world, world->now_ns + ms * WORLD_MS);
}

struct world *world_formed(const struct world_options *options)
{
    struct world *world = world_open(options);
    world_run_for(world, 500);
    WORLD_CHECK(world, world->commits >= 1 && world->steps_done > 10, "not formed\n");
    return world;
}
