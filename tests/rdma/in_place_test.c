/*
 * Messages that the verbs transport writes straight into the receiver's memory: what is registered
 * and for how long, and that nobody writes where he should not any more.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "rdma/in_place_world.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/udmabuf.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

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

/* So devices may write in any order what is only read after a completion; where that is not known,
 * it is not asked for. */
static void memory_is_registered_with_relaxed_ordering_where_offered(void **state)
{
    (void)state;
    for (uint32_t offered = 0; offered < 2; offered++) {
        seen.no_relaxed = !offered;
        struct world *world = world_open(&adapter, 2, 1);
        for (uint32_t rank = 0; rank < 2; rank++)
            world->ranks[rank].t->register_bytes = 64 * KIB;
        unsigned opened = seen.relaxed, registered = seen.registered;
        CHECK(world, (opened > 0) == offered); /* the windows */
        struct parcel parcel = {.bytes = MIB};
        parcel_move(world, 0, &parcel);
        CHECK(world, seen.registered - registered == 2 * RAILS);
        CHECK(world, seen.relaxed - opened == 2 * RAILS * offered);
        CHECK(world, link_of(world, 1, 0)->direct.bytes_received == MIB);
        world_close(world);
        assert_int_equal(seen.deregistered, seen.registered);
    }
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

/* A file of that many bytes: in the guest a real dmabuf, which the kernel makes of sealed memory;
 * the stand-in takes any. */
static int open_dmabuf(uint64_t bytes)
{
    int memory = memfd_create("dmabuf", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(memory >= 0 && ftruncate(memory, (off_t)bytes) == 0);
    if (!real)
        return memory;
    struct udmabuf_create create = {
        .memfd = (uint32_t)memory, .flags = UDMABUF_FLAGS_CLOEXEC, .size = bytes};
    assert_int_equal(fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    int device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
    assert_true(device >= 0);
    int dmabuf = ioctl(device, UDMABUF_CREATE, &create);
    assert_true(dmabuf >= 0);
    close(device);
    close(memory);
    return dmabuf;
}

/* Memory that is a dmabuf is registered as one; where a device cannot, by address; and where that
 * cannot be either, it is copied. Every way it arrives. Soft-RoCE and soft iWARP cannot, and say
 * so; that a device takes one is shown by the stand-in only. */
static void a_dmabuf_is_registered_as_one(void **state)
{
    const uint64_t bytes = MIB, offset = 8 * KIB;
    (void)state;
    for (uint32_t way = 0; way < 3; way++) {
        struct world *world = world_open(&adapter, 2, 1);
        int fd = open_dmabuf(offset + bytes);
        uint8_t *to = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
        assert_ptr_not_equal(to, MAP_FAILED);
        CHECK_OK(world, shl_memory_add_dmabuf(memories[1], to, bytes, fd, offset));
        seen.no_dmabuf = way > 0;
        seen.refused = way == 2 ? world->ranks[1].t->rails[1].pd : NULL;
        struct parcel parcel = {.to = to, .bytes = bytes};
        for (uint32_t msg = 0; msg < 2; msg++)
            parcel_move(world, msg, &parcel);
        CHECK(world, seen.dmabufs == (way == 0 && !real ? RAILS : 0));
        CHECK(world, way > 0 || seen.dmabuf_offset == offset);
        CHECK(world, seen.dmabuf_error == (way == 0 && real ? EOPNOTSUPP : 0));
        CHECK(world, link_of(world, 1, 0)->direct.bytes_received == (way < 2 ? 2 * bytes : 0));
        seen.refused = NULL;
        CHECK_OK(world, shl_memory_remove(memories[1], to));
        munmap(to, bytes);
        close(fd);
        world_close(world);
        assert_int_equal(seen.deregistered, seen.registered);
        seen.dmabufs = 0;
        seen.dmabuf_error = 0;
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
/* iWARP tells the end of a connection and not that it was for access to what is not granted. */
static bool link_has_suffered(void *arg)
{
    struct shl_verbs_link *link = arg;
    return link_is_lost(link) || (link->t->rails[0].no_immediate && link->move.life > 0);
}

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

    seen.held = NULL; /* the next pair may be at the same address */
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
    world_run(world, link_has_suffered, sender);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_the_caller_keeps_is_registered_once, set_up),
        cmocka_unit_test_setup(memory_is_registered_with_relaxed_ordering_where_offered, set_up),
        cmocka_unit_test_setup(ordinary_memory_is_registered_for_one_message, set_up),
        cmocka_unit_test_setup(memory_is_mapped_again_at_the_same_address, set_up),
        cmocka_unit_test_setup(who_cannot_register_uses_windows, set_up),
        cmocka_unit_test_setup(a_dmabuf_is_registered_as_one, set_up),
        cmocka_unit_test_setup(more_messages_than_places, set_up),
        cmocka_unit_test_setup(a_peer_that_keeps_writing_changes_nothing, set_up),
        cmocka_unit_test_setup(a_sender_that_gives_up_is_not_read_any_more, set_up),
    };
    begin();
    return cmocka_run_group_tests_name("verbs_in_place", tests, NULL, NULL);
}
