/*
 * Clock, network and lives of the simulated world.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim/membership_world.h"

#include <stdlib.h>
#include <string.h>

#define DETECT_NS (20 * WORLD_MS)
#define SILENCE_NS (100 * WORLD_MS)
#define BRANCHES 4 /* of the heap of events */

/* ---- events --------------------------------------------------------------------------------- */

uint64_t world_random(struct world *world, uint64_t below)
{
    return shl_test_random(&world->random) % below;
}

static bool earlier(const struct world_due *a, const struct world_due *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void push(struct world *world, struct world_event *event, uint64_t at_ns)
{
    if (world->heap_count == world->heap_capacity) {
        world->heap_capacity = world->heap_capacity ? 2 * world->heap_capacity : 256;
        world->heap = realloc(world->heap, world->heap_capacity * sizeof(*world->heap));
        assert_non_null(world->heap);
    }
    struct world_due due = {at_ns, event->order, event};
    size_t at = world->heap_count++;
    for (; at && earlier(&due, &world->heap[(at - 1) / BRANCHES]); at = (at - 1) / BRANCHES)
        world->heap[at] = world->heap[(at - 1) / BRANCHES];
    world->heap[at] = due;
}

static struct world_due pop(struct world *world)
{
    struct world_due *heap = world->heap, first = heap[0], last = heap[--world->heap_count];
    size_t at = 0, count = world->heap_count;
    for (size_t child; (child = BRANCHES * at + 1) < count; at = child) {
        size_t end = child + BRANCHES < count ? child + BRANCHES : count;
        for (size_t other = child + 1; other < end; other++)
            if (earlier(&heap[other], &heap[child]))
                child = other;
        if (!earlier(&heap[child], &last))
            break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return first;
}

static struct world_event *spare; /* events come and go by millions */

static void event_free(struct world_event *event)
{
    free(event->bytes);
    event->next = spare;
    spare = event;
}

struct world_event *world_event(struct world *world, enum world_event_kind kind, uint32_t to,
                                uint64_t delay_ns)
{
    struct world_event *event = spare;
    if (event)
        spare = event->next;
    else
        event = malloc(sizeof(*event));
    assert_non_null(event);
    *event = (struct world_event){.kind = kind, .to = to, .order = world->order++};
    push(world, event, world->now_ns + delay_ns);
    return event;
}

/* The same event again, later; its order among those of that time stays. */
static void postpone(struct world *world, struct world_event *event, uint64_t until_ns)
{
    push(world, event, until_ns > world->now_ns ? until_ns : world->now_ns + 1);
}

/* ---- network -------------------------------------------------------------------------------- */

bool world_link_up(const struct world *world, uint32_t from, uint32_t to)
{
    uint32_t a = world->lives[from]->slot, b = world->lives[to]->slot;
    return world->now_ns >= world->cut_until_ns[a][b];
}

static uint64_t path_delay(struct world *world)
{
    bool bad = world->options.bad_paths && !world->calm;
    uint64_t delay = (50 + world_random(world, 450)) * 1000;
    return bad && world_random(world, 50) == 0 ? delay + world_random(world, 60) * WORLD_MS : delay;
}

uint32_t world_life_of(const struct world *world, uint64_t id)
{
    for (uint32_t i = 0; i < world->life_count; i++)
        if (world->lives[i]->id == id)
            return i;
    fail_msg("no life has id %llu", (unsigned long long)id);
    return 0;
}

uint64_t world_lives_of(const struct world *world, const struct shl_members *members)
{
    uint64_t lives = 0;
    for (uint32_t i = 0; i < members->count; i++)
        lives |= 1ull << world_life_of(world, members->at[i].id);
    return lives;
}

static void host_send(void *context, uint64_t to, const void *bytes, size_t size)
{
    struct world_life *life = context;
    struct world *world = life->world;
    uint32_t target = world_life_of(world, to);
    bool bad = world->options.bad_paths && !world->calm;
    world->messages++;
    unsigned copies = 1 + (bad && world_random(world, 50) == 0);
    if (!world_link_up(world, life->number, target) || (bad && world_random(world, 50) == 0))
        return;
    while (copies--) {
        struct world_event *event = world_event(world, WORLD_MESSAGE, target, path_delay(world));
        event->from = life->number;
        event->bytes = malloc(size);
        assert_non_null(event->bytes);
        memcpy(event->bytes, bytes, size);
        event->size = size;
    }
}

void world_send_data(struct world_life *life, uint32_t to, enum world_data_kind kind, uint64_t seq,
                     uint64_t result, uint64_t wanted)
{
    struct world_event *event = world_event(life->world, WORLD_DATA, to, path_delay(life->world));
    event->from = life->number;
    event->data = kind;
    event->epoch = life->epoch;
    event->seq = seq;
    event->result = result;
    event->wanted = wanted;
}

/* ---- what the core asks ---------------------------------------------------------------------- */

/* Lives that are over, unless somebody is also missed that lives: then it is not plain who goes. */
static uint64_t plainly_gone(const struct world *world)
{
    uint64_t gone = 0, missed = 0;
    for (uint32_t i = 0; i < world->life_count; i++) {
        const struct world_life *life = world->lives[i];
        gone |= life->running ? 0 : 1ull << i;
        missed |= life->running ? life->suspected : 0;
    }
    return missed & ~gone ? 0 : gone;
}

/*
 * Nobody commits a view in which, as it knows, too few are left to make another one, where it could
 * propose one without those that are gone. Joiners do not count as left: nobody watches them yet.
 */
static void check_worth(struct world_life *life, const struct shl_store_request *request)
{
    static struct shl_record record;
    struct world *world = life->world;
    struct shl_bytes in = shl_bytes_reader(request->bytes, request->size);
    if (!request->swap || !life->epoch || world->options.policy == SHL_PARTITION_ANY ||
        !shl_record_get(&in, &record) || record.phase != SHL_PHASE_COMMITTED)
        return;
    uint64_t next = world_lives_of(world, &record.view);
    uint64_t gone = life->suspected & plainly_gone(world), left = life->members & ~gone;
    bool could_propose = 2 * __builtin_popcountll(left) >= __builtin_popcountll(life->members);
    bool is_enough = 2 * __builtin_popcountll(next & left) >= (int)record.view.count;
    WORLD_CHECK(world, !(next & gone) || is_enough || !could_propose,
                "life %u commits a view in which too few are left\n", life->number);
}

static void host_store(void *context, const struct shl_store_request *request)
{
    struct world_life *life = context;
    struct world *world = life->world;
    bool late = world->options.bad_paths && !world->calm && world_random(world, 40) == 0;
    uint64_t delay = (100 + world_random(world, 900)) * 1000;
    check_worth(life, request);
    struct world_event *event =
        world_event(world, WORLD_REQUEST, life->number,
                    late ? delay + world_random(world, 900) * WORLD_MS : delay);
    event->from = life->number;
    event->request = *request;
    event->size = request->size;
    event->bytes = malloc(request->size + 1);
    assert_non_null(event->bytes);
    if (request->size)
        memcpy(event->bytes, request->bytes, request->size);
}

static void host_fence(void *context, const struct shl_record *prepared)
{
    struct world_life *life = context;
    WORLD_CHECK(life->world, life->epoch == prepared->view_epoch, "a fence of another view\n");
    life->fenced_for = prepared->epoch;
    world_event(life->world, WORLD_FENCED, life->number, world_random(life->world, 3000) * 1000)
        ->epoch = prepared->epoch;
}

static void host_publish(void *context, const struct shl_record *record)
{
    struct world_life *life = context;
    struct world *world = life->world;
    uint64_t epoch = record->view_epoch;
    WORLD_CHECK(world, epoch > life->epoch && epoch > life->floor,
                "life %u: epoch %llu after %llu, floor %llu\n", life->number,
                (unsigned long long)epoch, (unsigned long long)life->epoch,
                (unsigned long long)life->floor);
    bool known = false;
    for (uint32_t i = 0; i < world->view_count; i++)
        known = known || world->views[i].epoch == epoch;
    WORLD_CHECK(world, known, "life %u publishes a view that nobody committed\n", life->number);
    for (uint32_t i = 0; i < world->life_count; i++) {
        const struct world_life *other = world->lives[i];
        if (other->epoch != epoch || i == life->number)
            continue;
        WORLD_CHECK(world, other->decided == record->decision.started,
                    "lives %u and %u got different decisions\n", i, life->number);
        for (uint32_t j = 0; j < record->view.count; j++)
            WORLD_CHECK(world, other->members >> world_life_of(world, record->view.at[j].id) & 1,
                        "lives %u and %u see different members\n", i, life->number);
    }
    world->joins += !life->epoch;
    WORLD_SAY(world, "life %u publishes epoch %llu\n", life->number, (unsigned long long)epoch);
    life->published_ns = world->now_ns;
    world_engine_publish(life, record);
    life->suspected &= life->members;
}

static void host_end(void *context, enum shoal_status status)
{
    struct world_life *life = context;
    struct world *world = life->world;
    life->running = false;
    life->ended = true;
    WORLD_SAY(world, "life %u ends: %s\n", life->number, status ? shl_error_text() : "left");
    life->status = status;
    world->current[life->slot] = WORLD_LIVES_MAX;
    world->evictions += status == SHOAL_ERR_EPOCH;
    world->leaves += status == SHOAL_OK;
    uint64_t floor = life->epoch > life->floor ? life->epoch : life->floor;
    if (status != SHOAL_OK && !world->options.no_restart)
        world_start(world, life->slot, (20 + world_random(world, 100)) * WORLD_MS, floor);
}

static void host_wake(void *context, uint64_t at_ns)
{
    struct world_life *life = context;
    life->wake_ns = at_ns;
    if (at_ns == UINT64_MAX)
        return;
    WORLD_CHECK(life->world, at_ns > life->world->now_ns, "a wake in the past\n");
    world_event(life->world, WORLD_WAKE, life->number, at_ns - life->world->now_ns);
}

/* ---- lives ---------------------------------------------------------------------------------- */

struct world_life *world_in_slot(struct world *world, uint32_t slot)
{
    uint32_t life = world->current[slot];
    return life < WORLD_LIVES_MAX && world->lives[life]->running ? world->lives[life] : NULL;
}

void world_start(struct world *world, uint32_t slot, uint64_t delay_ns, uint64_t floor)
{
    if (world->life_count == WORLD_LIVES_MAX)
        return; /* enough lives lived */
    struct world_life *life = calloc(1, sizeof(*life));
    assert_non_null(life);
    life->world = world;
    life->number = world->life_count;
    life->slot = slot;
    life->floor = floor;
    life->id = (world_random(world, UINT32_MAX) << 8 | world->life_count) + 256;
    world->lives[world->life_count++] = life;
    world->current[slot] = life->number;
    world_event(world, WORLD_START, life->number, delay_ns);
}

static void begin_life(struct world_life *life)
{
    struct world *world = life->world;
    struct shl_membership_host host = {life,         host_send, host_store, host_fence,
                                       host_publish, host_end,  host_wake};
    struct shl_membership_options options = {.self = {.id = life->id},
                                             .mode = world->options.mode,
                                             .policy = world->options.policy,
                                             .world_start = world->options.start,
                                             .world_min = world->options.min,
                                             .world_max = world->options.max,
                                             .epoch_floor = life->floor,
                                             .times = SHL_MEMBERSHIP_TIMES};
    options.times.recovery_ns = 4 * WORLD_SECOND;
    options.times.join_ns = 20 * WORLD_SECOND;
    ASSERT_OK(shl_membership_create(&options, &host, &life->core));
    life->running = true;
    WORLD_SAY(world, "life %u begins in slot %u\n", life->number, life->slot);
    shl_membership_start(life->core, world->now_ns);
    world_event(world, WORLD_DETECT, life->number, DETECT_NS);
    world_event(world, WORLD_CAUGHT_UP, life->number, (20 + world_random(world, 80)) * WORLD_MS);
}

/* The kernel closes its connections: who has one, and can still hear the host, learns soon. */
void world_crash(struct world *world, uint32_t number)
{
    struct world_life *life = world->lives[number];
    if (!life->running)
        return;
    life->running = false;
    WORLD_SAY(world, "life %u crashes\n", number);
    world->current[life->slot] = WORLD_LIVES_MAX;
    for (uint32_t i = 0; i < world->life_count; i++)
        if (world->lives[i]->running && world_random(world, 4))
            world_event(world, WORLD_LOST, i, (1 + world_random(world, 4)) * WORLD_MS)->from =
                number;
    uint64_t floor = life->epoch > life->floor ? life->epoch : life->floor;
    if (!world->options.no_restart && world_random(world, 4))
        world_start(world, life->slot, (30 + world_random(world, 400)) * WORLD_MS, floor);
}

static void suspect(struct world_life *life, uint32_t other)
{
    if (!(life->members >> other & 1) || life->suspected >> other & 1)
        return;
    life->suspected |= 1ull << other;
    WORLD_SAY(life->world, "life %u suspects %u\n", life->number, other);
    shl_membership_suspect(life->core, life->world->now_ns, life->world->lives[other]->id);
}

static void detect(struct world_life *life)
{
    struct world *world = life->world;
    for (uint32_t i = 0; i < world->life_count && life->running; i++) {
        const struct world_life *other = world->lives[i];
        if (!(life->members >> i & 1) || i == life->number)
            continue;
        /* Nobody beats for a member that its view has left out. */
        bool speaks = other->running && world->now_ns >= other->stopped_until_ns &&
                      (other->epoch <= life->epoch || other->members >> life->number & 1);
        if (speaks && world_link_up(world, i, life->number)) {
            life->heard_ns[i] = world->now_ns;
            if (life->suspected >> i & 1) {
                life->suspected &= ~(1ull << i);
                WORLD_SAY(world, "life %u hears %u again\n", life->number, i);
                shl_membership_reached(life->core, world->now_ns, other->id);
            }
            continue;
        }
        uint64_t since =
            life->heard_ns[i] > life->published_ns ? life->heard_ns[i] : life->published_ns;
        if (world->now_ns - since > SILENCE_NS)
            suspect(life, i);
    }
    if (life->running)
        world_event(world, WORLD_DETECT, life->number, DETECT_NS);
}

static bool deliver_data(struct world *world, struct world_life *life, struct world_event *event)
{
    if (!world_link_up(world, event->from, life->number)) {
        postpone(world, event, world->now_ns + 5 * WORLD_MS);
        return false;
    }
    if (event->epoch > life->epoch) { /* the receiver has not got the view yet */
        postpone(world, event, world->now_ns + WORLD_MS);
        return false;
    }
    bool fenced = life->fenced_for && world->options.broken != WORLD_NO_FENCE;
    if (event->epoch == life->epoch && !fenced)
        world_engine_data(life, event);
    return true;
}

static void run_life(struct world_life *life, struct world_event *event)
{
    struct world *world = life->world;
    switch (event->kind) {
    case WORLD_MESSAGE:
        ASSERT_OK(shl_membership_receive(life->core, world->now_ns, world->lives[event->from]->id,
                                         event->bytes, event->size));
        break;
    case WORLD_ANSWER:
        event->answer.bytes = event->bytes;
        event->answer.size = event->size;
        shl_membership_answer(life->core, world->now_ns, &event->answer);
        break;
    case WORLD_WAKE:
        if (life->wake_ns <= world->now_ns)
            shl_membership_tick(life->core, world->now_ns);
        break;
    case WORLD_FENCED: {
        struct shl_report report;
        if (event->epoch != life->fenced_for)
            break;
        world_engine_report(life, &report);
        shl_membership_fenced(life->core, world->now_ns, event->epoch, &report);
        break;
    }
    case WORLD_DETECT:
        detect(life);
        break;
    case WORLD_LOST:
        suspect(life, event->from);
        if (life->running && life->epoch && !(life->members >> event->from & 1)) /* a learner */
            shl_membership_suspect(life->core, world->now_ns, world->lives[event->from]->id);
        break;
    case WORLD_APP:
        world_engine_app(life);
        break;
    case WORLD_BOUNDARY:
        life->boundary_due = false;
        shl_membership_boundary(life->core, world->now_ns, event->wanted);
        world_engine_app(life);
        break;
    case WORLD_CAUGHT_UP:
        shl_membership_caught_up(life->core, world->now_ns);
        break;
    default:
        break;
    }
}

/* true: the event is used up. */
static bool run_event(struct world *world, struct world_event *event)
{
    struct world_life *life = world->lives[event->to];
    if (event->kind == WORLD_START) {
        begin_life(life);
        return true;
    }
    if (event->kind == WORLD_REQUEST) { /* takes effect whatever became of the asker */
        world_store_request(world, event);
        return true;
    }
    if (!life->running)
        return true;
    if (world->now_ns < life->stopped_until_ns) {
        postpone(world, event, life->stopped_until_ns);
        return false;
    }
    if (event->kind == WORLD_DATA)
        return deliver_data(world, life, event);
    run_life(life, event);
    return true;
}

void world_run(struct world *world, uint64_t until_ns)
{
    while (world->heap_count && world->heap[0].at_ns <= until_ns) {
        struct world_due due = pop(world);
        struct world_event *event = due.event;
        world->now_ns = due.at_ns;
        world->events_run++;
        world->trace = (world->trace ^ (due.at_ns + event->kind + event->to)) * 1099511628211ull;
        if (run_event(world, event))
            event_free(event);
    }
    world->now_ns = until_ns;
    world_check_outcomes(world);
}

bool world_at_rest(const struct world *world, uint64_t order)
{
    const struct shl_record *record = &world->store.record;
    if (!world->store.has_record || record->phase != SHL_PHASE_COMMITTED)
        return false;
    for (uint32_t i = 0; i < world->options.slots; i++) {
        if (world->current[i] == WORLD_LIVES_MAX)
            continue;
        const struct world_life *life = world->lives[world->current[i]];
        if (!life->running || life->epoch != record->view_epoch || life->wake_ns != UINT64_MAX)
            return false;
    }
    for (uint32_t i = 0; i < record->view.count; i++)
        if (!world->lives[world_life_of(world, record->view.at[i].id)]->running)
            return false;
    for (size_t i = 0; i < world->heap_count; i++)
        if (world->heap[i].order < order)
            return false;
    return true;
}

struct world *world_open(const struct world_options *options)
{
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    world->options = *options;
    world->random = options->seed;
    world_store_open(world);
    for (uint32_t i = 0; i < WORLD_SLOTS_MAX; i++)
        world->current[i] = WORLD_LIVES_MAX;
    for (uint32_t i = 0; i < options->slots; i++)
        world_start(world, i, world_random(world, 50) * WORLD_MS, 0);
    return world;
}

void world_close(struct world *world)
{
    while (world->heap_count)
        event_free(pop(world).event);
    for (uint32_t i = 0; i < world->life_count; i++) {
        shl_membership_destroy(world->lives[i]->core);
        free(world->lives[i]);
    }
    free(world->store.bytes);
    free(world->heap);
    free(world);
}
