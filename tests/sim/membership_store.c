/*
 * The store of the simulated world: one linearizable register, with answers that get lost, swaps
 * that take effect late, outages and a lost journal. What is written to it is checked here.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim/membership_world.h"

#include <stdlib.h>
#include <string.h>

void world_store_open(struct world *world)
{
    world->store.incarnation = world_random(world, UINT32_MAX) + 1;
}

void world_store_lose(struct world *world)
{
    world->store.incarnation += 1 + world_random(world, 1000);
    world->store.version = 0;
    world->store.has_record = false;
    free(world->store.bytes);
    world->store.bytes = NULL;
    world->store.size = 0;
    /* Steps of the job that lived there are not those of the next one. */
    memset(world->step_hashes, 0, sizeof(world->step_hashes));
    world->orphans = ((uint64_t)1 << world->life_count) - 1;
}

static bool has(const struct shl_members *members, uint64_t id)
{
    return shl_members_find(members, id) != SHL_MEMBER_NONE;
}

static void note_view(struct world *world, const struct shl_record *record)
{
    static uint8_t wire[SHL_RECORD_BYTES_MAX];
    static struct shl_record plain;
    struct shl_bytes out = shl_bytes_writer(wire, sizeof(wire));
    shl_record_copy(&plain, record);
    plain.writer = plain.proposal = 1;
    shl_record_put(&out, &plain);
    uint64_t hash = 1469598103934665603ull;
    for (size_t i = 0; i < out.at; i++)
        hash = (hash ^ wire[i]) * 1099511628211ull;
    for (uint32_t i = 0; i < world->view_count; i++)
        WORLD_CHECK(world,
                    world->views[i].incarnation != world->store.incarnation ||
                        world->views[i].epoch < record->epoch,
                    "epoch %llu was committed before\n", (unsigned long long)record->epoch);
    WORLD_CHECK(world, world->view_count < WORLD_EPOCHS, "too many views\n");
    world->views[world->view_count++] =
        (struct world_view){world->store.incarnation, record->epoch, hash};
    world->commits++;
}

/* Everyone whose report the commit rests on is fenced for it at this moment. */
static void check_fenced(struct world *world, const struct shl_record *before,
                         const struct shl_record *after)
{
    for (uint32_t i = 0; i < after->view.count; i++) {
        uint64_t id = after->view.at[i].id;
        struct world_life *life = world->lives[world_life_of(world, id)];
        WORLD_CHECK(world, has(&before->next, id), "a member that was not proposed\n");
        if (has(&before->view, id) && life->running)
            WORLD_CHECK(world, life->fenced_for >= after->epoch,
                        "life %u is not fenced for epoch %llu\n", life->number,
                        (unsigned long long)after->epoch);
    }
}

static void check_write(struct world *world, const struct shl_record *after)
{
    const struct shl_record *before = &world->store.record;
    bool first = !world->store.has_record;
    if (after->phase == SHL_PHASE_FORMING) {
        WORLD_CHECK(world, first || before->phase == SHL_PHASE_FORMING, "forming again\n");
        return;
    }
    WORLD_CHECK(world, first || after->epoch >= before->epoch, "an epoch goes back\n");
    if (after->phase == SHL_PHASE_PREPARED) {
        WORLD_CHECK(world, !first && after->epoch == before->epoch + 1, "an epoch is skipped\n");
        WORLD_CHECK(world, before->phase != SHL_PHASE_PREPARED || has(&before->next, after->writer),
                    "a member that is left out writes\n");
        return;
    }
    if (!first && before->phase == SHL_PHASE_PREPARED) {
        WORLD_CHECK(world, before->epoch == after->epoch && before->writer == after->writer,
                    "a commit of another proposal\n");
        check_fenced(world, before, after);
    } else {
        WORLD_CHECK(world, first || before->phase == SHL_PHASE_FORMING,
                    "a commit without a proposal\n");
    }
    note_view(world, after);
}

static void write_record(struct world *world, const struct world_event *event)
{
    static struct shl_record record;
    struct shl_bytes in = shl_bytes_reader(event->bytes, event->size);
    WORLD_CHECK(world, shl_record_get(&in, &record) && !shl_bytes_left(&in), "no record\n");
    WORLD_SAY(world, "life %u writes phase %d, epoch %llu, view %llx, next %llx\n", event->from,
              (int)record.phase, (unsigned long long)record.epoch,
              (unsigned long long)world_lives_of(world, &record.view),
              (unsigned long long)world_lives_of(world, &record.next));
    check_write(world, &record);
    shl_record_copy(&world->store.record, &record);
    world->store.has_record = true;
    world->store.version++;
    free(world->store.bytes);
    world->store.bytes = malloc(event->size);
    assert_non_null(world->store.bytes);
    memcpy(world->store.bytes, event->bytes, event->size);
    world->store.size = event->size;
    if (world->options.drivers_die && !world->calm && record.phase != SHL_PHASE_FORMING &&
        world_random(world, 4) == 0)
        world_crash(world, event->from);
}

static void answer(struct world *world, const struct world_event *request,
                   enum shl_store_result result)
{
    bool bad = world->options.bad_paths && !world->calm;
    uint64_t delay = (100 + world_random(world, 900)) * 1000;
    if (bad && world_random(world, 20) == 0)
        return;
    if (bad && world_random(world, 20) == 0)
        delay += world_random(world, 700) * WORLD_MS;
    struct world_event *event = world_event(world, WORLD_ANSWER, request->from, delay);
    event->answer = (struct shl_store_answer){.id = request->request.id,
                                              .result = result,
                                              .incarnation = world->store.incarnation,
                                              .version = world->store.version};
    if (result == SHL_STORE_UNKNOWN || (result == SHL_STORE_OK && request->request.swap))
        return;
    event->size = world->store.size;
    event->bytes = malloc(event->size + 1);
    assert_non_null(event->bytes);
    if (event->size)
        memcpy(event->bytes, world->store.bytes, event->size);
}

void world_store_request(struct world *world, struct world_event *event)
{
    const struct shl_store_request *request = &event->request;
    uint32_t slot = world->lives[event->from]->slot;
    if (world->now_ns < world->store.down_until_ns ||
        world->now_ns < world->store_cut_until_ns[slot]) {
        if (world_random(world, 2))
            answer(world, event, SHL_STORE_UNKNOWN);
        return;
    }
    if (!request->swap) {
        answer(world, event, SHL_STORE_OK);
        return;
    }
    bool fits = request->version == world->store.version &&
                (!request->incarnation || request->incarnation == world->store.incarnation);
    if (fits)
        write_record(world, event);
    answer(world, event, fits ? SHL_STORE_OK : SHL_STORE_CONFLICT);
}
