/*
 * Messages that the verbs transport writes straight into the receiver's memory: what is registered
 * and for how long, and that nobody writes where he should not any more. Runs on Soft-RoCE in the
 * guest, and elsewhere over the stand-in of support/verbs_soft.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conformance/control_world.h"
#include "conformance/message.h"
#include "core/memory.h"
#include "support/verbs_soft.h"
#include "transport/verbs/verbs_link.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)
#define PIECES_MAX 64
#define RAILS 3 /* devices of the test */

static bool real; /* devices; else the stand-in */
static const struct shl_verbs_sys *verbs;
static struct shl_memory *memories[WORLD_RANKS_MAX];

static enum shoal_status prepare(struct world *world)
{
    static const char *const settings[] = {NULL};
    SHL_TRY(control_world_prepare(world, &shl_transport_verbs, settings));
    for (uint32_t i = 0; i < world->size; i++) {
        SHL_TRY(shl_memory_create(&memories[i]));
        world->ranks[i].env.memory = memories[i];
    }
    return SHOAL_OK;
}

static void cleanup(struct world *world)
{
    for (uint32_t i = 0; i < world->size; i++)
        shl_memory_destroy(memories[i]);
    CHECK(world, real || verbs_soft_objects() == 0);
    control_world_cleanup(world);
}

static const struct conformance_adapter adapter = {
    .name = "verbs in place",
    .seeds = 1,
    .attach_blocks = true,
    .no_sweep = true,
    .prepare = prepare,
    .meet = control_world_meet,
    .idle = control_world_idle,
    .cleanup = cleanup,
};

/* ---- what the transport asks of verbs ------------------------------------------------------ */

static struct {
    atomic_uint registered, deregistered; /* ranks open in threads of their own */
    const struct ibv_pd *refused;         /* no memory is registered in this domain */
    const struct ibv_qp *held;            /* what is posted here waits in the following */
    struct ibv_send_wr late[PIECES_MAX];
    struct ibv_sge late_pieces[PIECES_MAX];
    unsigned late_count;
} seen;

static struct ibv_mr *note_register(struct ibv_pd *pd, void *memory, size_t bytes, int access)
{
    errno = ENOMEM;
    if (pd == seen.refused)
        return NULL;
    seen.registered++;
    return verbs->reg_mr(pd, memory, bytes, access);
}

static int note_deregister(struct ibv_mr *mr)
{
    seen.deregistered++;
    return verbs->dereg_mr(mr);
}

static int hold_or_post(struct ibv_qp *qp, struct ibv_send_wr *chain, struct ibv_send_wr **bad)
{
    if (qp != seen.held)
        return verbs->post_send(qp, chain, bad);
    for (; chain; chain = chain->next) {
        assert_true(seen.late_count < PIECES_MAX);
        unsigned at = seen.late_count++;
        seen.late[at] = *chain;
        seen.late_pieces[at] = *chain->sg_list;
        seen.late[at].sg_list = &seen.late_pieces[at];
        seen.late[at].next = NULL;
    }
    return 0;
}

static struct shl_verbs_sys hooked;

static int set_up(void **state)
{
    (void)state;
    memset(&seen, 0, sizeof(seen));
    hooked = *verbs;
    hooked.reg_mr = note_register;
    hooked.dereg_mr = note_deregister;
    hooked.post_send = hold_or_post;
    shl_verbs = &hooked;
    return 0;
}

static struct shl_verbs_link *link_of(struct world *world, uint32_t rank, uint32_t peer)
{
    return world->ranks[rank].t->links[peer];
}

/* ---- messages between given buffers -------------------------------------------------------- */

struct parcel {
    struct message message;
    uint8_t *from, *to; /* instead of the message's own buffers */
    uint64_t bytes;
};

static uint8_t byte_of(const struct parcel *parcel, uint64_t at)
{
    return (uint8_t)(at * 7 + (at >> 8) + parcel->message.send.tag.msg * 13 + 1);
}

static void parcel_post(struct world *world, uint32_t msg, struct parcel *parcel)
{
    struct message_plan plan = {.from = 0, .to = 1, .seq = 1, .msg = msg, .bytes = parcel->bytes};
    message_make(world, &plan, &parcel->message);
    if (parcel->from)
        parcel->message.send.data = parcel->from;
    if (parcel->to)
        parcel->message.recv.data = parcel->to;
    for (uint64_t i = 0; i < parcel->bytes; i++)
        ((uint8_t *)parcel->message.send.data)[i] = byte_of(parcel, i);
    memset(parcel->message.recv.data, 0, parcel->bytes);
    message_post_recv(&parcel->message);
    message_post_send(&parcel->message);
}

static void parcel_check(struct world *world, struct parcel *parcel)
{
    const struct message *message = &parcel->message;
    const uint8_t *got = message->recv.data;
    CHECK(world, message->send_done == 1 && message->send.status == SHOAL_OK);
    CHECK(world, message->recv_done == 1 && message->recv.status == SHOAL_OK);
    for (uint64_t i = 0; i < parcel->bytes; i++)
        CHECK(world, got[i] == byte_of(parcel, i));
    message_free(&parcel->message);
}

static void parcel_move(struct world *world, uint32_t msg, struct parcel *parcel)
{
    parcel_post(world, msg, parcel);
    world_run(world, message_done, &parcel->message);
    parcel_check(world, parcel);
}

static uint8_t *map_at(void *where, uint64_t bytes)
{
    void *memory = mmap(where, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | (where ? MAP_FIXED_NOREPLACE : 0), -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    return memory;
}

/* ---- registrations ------------------------------------------------------------------------- */

static void what_the_caller_keeps_is_registered_once(void **state)
{
    enum { MESSAGES = 6, BYTES = 100000 };
    static uint8_t from[BYTES], to[BYTES];
    struct world *world = world_open(&adapter, 2, 1);
    (void)state;
    CHECK_OK(world, shl_memory_add(memories[0], from, BYTES));
    CHECK_OK(world, shl_memory_add(memories[1], to, BYTES));
    unsigned before = seen.registered;
    struct parcel parcel = {.from = from, .to = to, .bytes = BYTES};
    for (uint32_t msg = 0; msg < MESSAGES; msg++)
        parcel_move(world, msg, &parcel);
    CHECK(world, seen.registered == before + 2 * RAILS);
    CHECK(world, link_of(world, 0, 1)->direct.bytes_sent == MESSAGES * BYTES);
    CHECK(world, link_of(world, 1, 0)->direct.bytes_received == MESSAGES * BYTES);
    unsigned ended = seen.deregistered;
    CHECK_OK(world, shl_memory_remove(memories[1], to));
    CHECK(world, seen.deregistered == ended + RAILS);
    world_close(world);
    assert_int_equal(seen.deregistered, seen.registered);
}

static void ordinary_memory_is_registered_for_one_message(void **state)
{
    struct world *world = world_open(&adapter, 2, 1);
    (void)state;
    for (uint32_t rank = 0; rank < 2; rank++)
        world->ranks[rank].t->register_bytes = 64 * KIB;
    unsigned before = seen.registered - seen.deregistered;
    for (uint32_t msg = 0; msg < 4; msg++) {
        struct parcel parcel = {.bytes = 3 * MIB + msg};
        parcel_move(world, msg, &parcel);
        CHECK(world, seen.registered - seen.deregistered == before);
    }
    CHECK(world, link_of(world, 1, 0)->direct.bytes_received > 12 * MIB);
    struct parcel below = {.bytes = 64 * KIB - 1};
    uint64_t in_place = link_of(world, 1, 0)->direct.bytes_received;
    parcel_move(world, 9, &below);
    CHECK(world, link_of(world, 1, 0)->direct.bytes_received == in_place);
    world_close(world);
}

/* Other pages at the same address must get the second message, not the pages of before. */
static void memory_is_mapped_again_at_the_same_address(void **state)
{
    struct world *world = world_open(&adapter, 2, 1);
    const uint64_t bytes = MIB;
    (void)state;
    world->ranks[0].t->register_bytes = world->ranks[1].t->register_bytes = 64 * KIB;
    uint8_t *from = map_at(NULL, bytes), *to = map_at(NULL, bytes);
    for (uint32_t round = 0; round < 6; round++) {
        bool kept = round % 2;
        struct parcel parcel = {.from = from, .to = to, .bytes = bytes};
        if (kept) {
            CHECK_OK(world, shl_memory_add(memories[0], from, bytes));
            CHECK_OK(world, shl_memory_add(memories[1], to, bytes));
        }
        parcel_move(world, round, &parcel);
        if (kept) {
            CHECK_OK(world, shl_memory_remove(memories[0], from));
            CHECK_OK(world, shl_memory_remove(memories[1], to));
        }
        munmap(from, bytes);
        munmap(to, bytes);
        CHECK(world, map_at(from, bytes) == from && map_at(to, bytes) == to);
    }
    CHECK(world, link_of(world, 1, 0)->direct.bytes_received == 6 * bytes);
    munmap(from, bytes);
    munmap(to, bytes);
    world_close(world);
}

/* The sender cannot register its memory, or the receiver cannot: they use windows. */
static void who_cannot_register_uses_windows(void **state)
{
    (void)state;
    for (uint32_t poor = 0; poor < 2; poor++) {
        struct world *world = world_open(&adapter, 2, 1);
        struct parcel parcel = {.bytes = MIB};
        world->ranks[0].t->register_bytes = world->ranks[1].t->register_bytes = 64 * KIB;
        seen.refused = world->ranks[poor].t->rails[0].pd;
        parcel_move(world, 0, &parcel);
        CHECK(world, link_of(world, 1, 0)->direct.bytes_received == 0);
        CHECK(world, link_of(world, 1, 0)->direct.places_used == 0);
        seen.refused = NULL;
        parcel_move(world, 1, &parcel);
        CHECK(world, link_of(world, 1, 0)->direct.bytes_received == MIB);
        world_close(world);
    }
}

/* More messages than places: the others take windows, and all arrive. */
static void more_messages_than_places(void **state)
{
    enum { MESSAGES = 2 * SHL_VERBS_PLACES };
    static struct parcel parcels[MESSAGES];
    struct world *world = world_open(&adapter, 2, 1);
    (void)state;
    world->ranks[1].t->register_bytes = 64 * KIB;
    for (uint32_t i = 0; i < MESSAGES; i++) {
        parcels[i] = (struct parcel){.bytes = 70000 + i};
        parcel_post(world, i, &parcels[i]);
    }
    for (uint32_t i = 0; i < MESSAGES; i++)
        world_run(world, message_done, &parcels[i].message);
    for (uint32_t i = 0; i < MESSAGES; i++)
        parcel_check(world, &parcels[i]);
    CHECK(world, link_of(world, 1, 0)->direct.places_used == 0);
    CHECK(world, link_of(world, 1, 0)->direct.bytes_received > 70000 * SHL_VERBS_PLACES / 2);
    world_close(world);
}

/* ---- fencing ------------------------------------------------------------------------------- */

static bool writes_are_held(void *arg)
{
    (void)arg;
    return seen.late_count > 0;
}

static bool unchanged(const uint8_t *memory, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++)
        if (memory[i] != 0x77)
            return false;
    return true;
}

struct life {
    struct world *world;
    uint64_t count;
};

/* Both ends have a pair of that life. */
static bool has_begun(void *arg)
{
    const struct life *life = arg;
    const struct shl_verbs_link *a = link_of(life->world, 0, 1), *b = link_of(life->world, 1, 0);
    return a->direct.life == life->count && a->direct.up && b->direct.life == life->count &&
           b->direct.up;
}

static bool link_is_lost(void *arg)
{
    const struct shl_verbs_link *link = arg;
    return link->state == SHL_VERBS_LOST;
}

static void post_late(struct ibv_qp *qp)
{
    struct ibv_send_wr *bad;
    for (unsigned i = 0; i < seen.late_count; i++)
        assert_int_equal(verbs->post_send(qp, &seen.late[i], &bad), 0);
}

/*
 * A peer writes after the receiver has given the operation up, as after a deadline or an abort,
 * and uses the memory for something else: first as a slow peer would, through the pair by which it
 * was invited, then as only a broken one would, through the pair that is still connected. The
 * memory is registered for good, so its key still holds.
 */
static void a_peer_that_keeps_writing_changes_nothing(void **state)
{
    static uint8_t to[2 * MIB];
    struct world *world = world_open(&adapter, 2, 1);
    struct shl_verbs_link *sender = link_of(world, 0, 1);
    (void)state;
    CHECK_OK(world, shl_memory_add(memories[1], to, sizeof(to)));
    seen.held = sender->direct.lanes[0].qp;
    struct parcel parcel = {.to = to, .bytes = sizeof(to)};
    parcel_post(world, 0, &parcel);
    world_run(world, writes_are_held, NULL);
    world_unwant(world, 1, MESSAGE_COMM, 1);
    world->ops->cancel(world->ranks[1].t, MESSAGE_COMM, 1);
    memset(to, 0x77, sizeof(to));

    post_late(sender->direct.lanes[0].qp);
    world_run(world, has_begun, &(struct life){world, 1});
    CHECK(world, unchanged(to, sizeof(to)));
    CHECK(world, parcel.message.recv_done == 0);
    struct message_plan next = {.from = 0, .to = 1, .seq = 2, .bytes = MIB};
    message_exchange(world, &next);
    CHECK(world, unchanged(to, sizeof(to)));
    CHECK(world, world->ranks[0].lost_calls[1] == 0 && world->ranks[1].lost_calls[0] == 0);

    for (unsigned i = 0; i < seen.late_count; i++)
        seen.late_pieces[i].lkey = sender->slots_mr->lkey; /* what the other pair can read */
    for (unsigned i = 0; i < seen.late_count; i++)
        seen.late_pieces[i].addr = (uintptr_t)sender->send_slots;
    for (unsigned i = 0; i < seen.late_count; i++)
        seen.late_pieces[i].length = SHL_VERBS_SLOT_BYTES;
    post_late(sender->qp);
    world_run(world, link_is_lost, sender);
    CHECK(world, unchanged(to, sizeof(to)));
    message_free(&parcel.message);
    world_close(world);
}

/* The sender gives up while its memory is being read: what it scribbles there is never taken for
 * the message, and its next message goes through a new pair. */
static void a_sender_that_gives_up_is_not_read_any_more(void **state)
{
    struct world *world = world_open(&adapter, 2, 1);
    (void)state;
    world->ranks[0].t->register_bytes = world->ranks[1].t->register_bytes = 64 * KIB;
    unsigned before = seen.registered - seen.deregistered;
    struct parcel parcel = {.bytes = 8 * MIB};
    parcel_post(world, 0, &parcel);
    while (parcel.message.send_done == 0 && link_of(world, 0, 1)->direct.bytes_sent == 0)
        world_poll(world);
    world_unwant(world, 0, MESSAGE_COMM, 1);
    world->ops->cancel(world->ranks[0].t, MESSAGE_COMM, 1);
    memset(parcel.message.send.data, 0x99, parcel.bytes);
    world_settle(world);
    if (parcel.message.recv_done)
        for (uint64_t i = 0; i < parcel.bytes; i++)
            CHECK(world, ((uint8_t *)parcel.message.recv.data)[i] == byte_of(&parcel, i));
    struct message_plan next = {.from = 0, .to = 1, .seq = 2, .bytes = MIB};
    message_exchange(world, &next);
    world->ops->cancel(world->ranks[1].t, MESSAGE_COMM, 1);
    CHECK(world, seen.registered - seen.deregistered == before);
    message_free(&parcel.message);
    world_close(world);
}

/* ---- errors -------------------------------------------------------------------------------- */

static void break_pair(struct ibv_qp *qp)
{
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
    assert_int_equal(verbs->modify_qp(qp, &attr, IBV_QP_STATE), 0);
}

static uint32_t first_rail(const struct shl_verbs_link *link)
{
    uint32_t rail = 0;
    while (!link->direct.lanes[rail].qp)
        rail++;
    return rail;
}

/* Pairs that fail cost others, and no byte. */
static void a_broken_direct_pair_is_replaced(void **state)
{
    struct world *world = world_open(&adapter, 2, 1);
    (void)state;
    world->ranks[0].t->register_bytes = world->ranks[1].t->register_bytes = 64 * KIB;
    for (uint32_t broken = 0; broken < 2; broken++) {
        struct parcel parcel = {.bytes = 8 * MIB};
        uint64_t sent = link_of(world, 0, 1)->direct.bytes_sent;
        parcel_post(world, broken, &parcel);
        while (link_of(world, 0, 1)->direct.bytes_sent == sent)
            world_poll(world);
        struct shl_verbs_link *link = link_of(world, broken, 1 - broken);
        break_pair(link->direct.lanes[first_rail(link)].qp);
        world_run(world, message_done, &parcel.message);
        parcel_check(world, &parcel);
        world_run(world, has_begun, &(struct life){world, broken + 1});
    }
    CHECK(world, world->ranks[0].lost_calls[1] == 0 && world->ranks[1].lost_calls[0] == 0);
    world_close(world);
}

/* ---- rails --------------------------------------------------------------------------------- */

static void rails_share_a_message(void **state)
{
    struct world *world = world_open(&adapter, 2, 1);
    struct shl_verbs_link *sender = link_of(world, 0, 1);
    (void)state;
    world->ranks[0].t->register_bytes = world->ranks[1].t->register_bytes = 64 * KIB;
    CHECK(world, sender->direct.rail_count == RAILS);
    /* From one piece to some hundred, with a rest or without. */
    const uint64_t sizes[] = {64 * KIB, 256 * KIB, 384 * KIB, 8 * MIB, 40 * MIB + 1};
    for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct parcel parcel = {.bytes = sizes[i]};
        parcel_move(world, i, &parcel);
    }
    for (uint32_t rail = 0; rail < RAILS; rail++)
        CHECK(world, sender->direct.lanes[rail].requested > 8);
    world_close(world);
}

static void a_rail_that_fails_is_left(void **state)
{
    struct world *world = world_open(&adapter, 2, 1);
    struct shl_verbs_link *sender = link_of(world, 0, 1), *receiver = link_of(world, 1, 0);
    (void)state;
    world->ranks[0].t->register_bytes = world->ranks[1].t->register_bytes = 64 * KIB;
    struct parcel parcel = {.bytes = 8 * MIB};
    parcel_post(world, 0, &parcel);
    while (sender->direct.bytes_sent == 0)
        world_poll(world);
    break_pair(sender->direct.lanes[1].qp);
    world_run(world, message_done, &parcel.message);
    parcel_check(world, &parcel);
    world_run(world, has_begun, &(struct life){world, 1});
    for (uint32_t rail = 0; rail < RAILS; rail++) {
        CHECK(world, (sender->direct.lanes[rail].qp == NULL) == (rail == 1));
        CHECK(world, (receiver->direct.lanes[rail].qp == NULL) == (rail == 1));
    }
    parcel_move(world, 1, &parcel);
    CHECK(world, world->ranks[0].lost_calls[1] == 0 && world->ranks[1].lost_calls[0] == 0);
    world_close(world);
}

static bool rail_is_left(void *arg)
{
    struct world *world = arg;
    return !link_of(world, 0, 1)->direct.lanes[1].qp && !link_of(world, 1, 0)->direct.lanes[1].qp &&
           link_of(world, 0, 1)->direct.up && link_of(world, 1, 0)->direct.up;
}

static bool rail_is_back(void *arg)
{
    struct world *world = arg;
    return link_of(world, 0, 1)->direct.lanes[1].qp && link_of(world, 1, 0)->direct.lanes[1].qp &&
           link_of(world, 0, 1)->direct.up && link_of(world, 1, 0)->direct.up;
}

/* A port goes down while messages go, and comes back: all arrive, and the rail is used again. */
static void a_port_goes_down_and_returns(void **state)
{
    if (!real)
        return;
    (void)state;
    struct world *world = world_open(&adapter, 2, 1);
    world->ranks[0].t->register_bytes = world->ranks[1].t->register_bytes = 64 * KIB;
    struct parcel parcel = {.bytes = 16 * MIB};
    parcel_post(world, 0, &parcel);
    while (link_of(world, 0, 1)->direct.bytes_sent == 0)
        world_poll(world);
    assert_int_equal(system("ip link set v1 down"), 0);
    world_run(world, message_done, &parcel.message);
    parcel_check(world, &parcel);
    world_run(world, rail_is_left, world);
    parcel_move(world, 1, &parcel);
    assert_int_equal(system("ip link set v1 up"), 0);
    world_run(world, rail_is_back, world);
    parcel_move(world, 2, &parcel);
    CHECK(world, link_of(world, 0, 1)->direct.lanes[1].requested > 0);
    CHECK(world, world->ranks[0].lost_calls[1] == 0 && world->ranks[1].lost_calls[0] == 0);
    world_close(world);
}

/* A failed pair for frames is a lost link, with its cause, and gives all memory back. */
static void a_broken_pair_for_frames_loses_the_link(void **state)
{
    struct world *world = world_open(&adapter, 2, 1);
    (void)state;
    world->ranks[0].t->register_bytes = world->ranks[1].t->register_bytes = 64 * KIB;
    unsigned before = seen.registered - seen.deregistered;
    struct parcel parcel = {.bytes = 8 * MIB};
    parcel_post(world, 0, &parcel);
    while (link_of(world, 0, 1)->direct.bytes_sent == 0)
        world_poll(world);
    break_pair(link_of(world, 1, 0)->qp);
    world_run(world, link_is_lost, link_of(world, 1, 0));
    CHECK(world, world->ranks[1].lost_calls[0] == 1);
    CHECK(world, link_of(world, 1, 0)->cause[0] != '\0');
    world_run(world, link_is_lost, link_of(world, 0, 1)); /* its channel has ended */
    CHECK(world, world->ranks[0].lost_calls[1] == 1);
    CHECK(world, seen.registered - seen.deregistered == before);
    message_free(&parcel.message);
    world_close(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_the_caller_keeps_is_registered_once, set_up),
        cmocka_unit_test_setup(ordinary_memory_is_registered_for_one_message, set_up),
        cmocka_unit_test_setup(memory_is_mapped_again_at_the_same_address, set_up),
        cmocka_unit_test_setup(who_cannot_register_uses_windows, set_up),
        cmocka_unit_test_setup(more_messages_than_places, set_up),
        cmocka_unit_test_setup(a_peer_that_keeps_writing_changes_nothing, set_up),
        cmocka_unit_test_setup(a_sender_that_gives_up_is_not_read_any_more, set_up),
        cmocka_unit_test_setup(a_broken_direct_pair_is_replaced, set_up),
        cmocka_unit_test_setup(rails_share_a_message, set_up),
        cmocka_unit_test_setup(a_rail_that_fails_is_left, set_up),
        cmocka_unit_test_setup(a_port_goes_down_and_returns, set_up),
        cmocka_unit_test_setup(a_broken_pair_for_frames_loses_the_link, set_up),
    };
    real = getenv("SHOAL_TEST_GUEST") != NULL;
    if (!real)
        verbs_soft_install(RAILS);
    assert_int_equal(shl_verbs_load(), SHOAL_OK);
    verbs = shl_verbs;
    return cmocka_run_group_tests_name("verbs_in_place", tests, NULL, NULL);
}
