/*
 * A peer that writes anything at all into what it shares: no crash, no write outside buffers, and
 * the traffic with others goes on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/random.h"
#include "transport/shm/shm.h"
#include "unit/transport/shm_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORLDS 200
#define STEPS 300
#define BYTES 200000u

static const struct shl_transport_ops *const ops = &shl_transport_shm;

enum { HOSTILE, VICTIM, FRIEND, RANKS };

struct fuzz {
    uint64_t random;
    struct shm_world world;
    struct shm_rank *ranks;
    struct shl_shm_block *block; /* what the hostile rank tells the victim */
    uint8_t *from;
    uint8_t *to;
    struct shl_xfer xfers[8];
    uint64_t survived; /* forgeries that passed for sound ones */
};

static uint64_t below(struct fuzz *fuzz, uint64_t bound)
{
    return shl_test_random(&fuzz->random) % bound;
}

/* Numbers that are near limits more often than not. */
static uint64_t odd_number(struct fuzz *fuzz)
{
    static const uint64_t limits[] = {
        0,         1, 63, 64, 65, 4095, 4096, 32768, BYTES, UINT32_MAX, UINT64_MAX, UINT64_MAX / 2,
        1ull << 40};
    uint64_t r = shl_test_random(&fuzz->random);
    return r % 3 ? limits[(r >> 8) % (sizeof(limits) / sizeof(limits[0]))] + (r >> 40) % 3 - 1 : r;
}

/* Mostly what a sound peer could write, so that the forgeries get deep before one is noticed. */
static uint64_t mostly(struct fuzz *fuzz, uint64_t sound)
{
    return below(fuzz, 60) ? sound : odd_number(fuzz);
}

static uint32_t sound_bytes(uint8_t kind)
{
    switch (kind) {
    case SHL_SHM_DATA:
        return 8;
    case SHL_SHM_OFFER:
        return sizeof(struct shl_shm_offer);
    case SHL_SHM_DEMAND:
        return sizeof(uint32_t);
    default:
        return 0;
    }
}

/* A record that the victim will read, since its stamp is right, but nothing else need be. */
static void forge_record(struct fuzz *fuzz, const struct shl_shm_peer *seen)
{
    size_t at = seen->position % SHL_SHM_RING_BYTES;
    struct shl_shm_record *record = (void *)(fuzz->block->ring + at);
    uint64_t idle = ~seen->offers_known & (UINT64_MAX >> 1);
    record->tag =
        (struct shl_tag){.seq = below(fuzz, 3), .comm = 7, .msg = (uint32_t)below(fuzz, 9)};
    record->signature = (struct shl_signature){.count = mostly(fuzz, BYTES), .call = 0x801};
    record->kind = (uint8_t)mostly(fuzz, SHL_SHM_DATA + below(fuzz, 4));
    record->offer = (uint16_t)mostly(fuzz, idle ? (unsigned)__builtin_ctzll(idle) : 0);
    record->on_demand = (uint8_t)(mostly(fuzz, 0) & 1);
    record->bytes = (uint32_t)mostly(fuzz, sound_bytes(record->kind));
    struct shl_shm_offer offer = {.bytes = mostly(fuzz, BYTES),
                                  .address = below(fuzz, 2) ? (uint64_t)(uintptr_t)fuzz->from
                                                            : odd_number(fuzz),
                                  .heap_offset = below(fuzz, 2) ? UINT64_MAX : odd_number(fuzz),
                                  .generation = (uint32_t)mostly(fuzz, 1)};
    size_t room = SHL_SHM_RING_BYTES - at - SHL_SHM_RECORD_HEAD_BYTES;
    memcpy(record->payload, &offer, sizeof(offer) < room ? sizeof(offer) : room);
    if (record->offer < SHL_SHM_OFFERS)
        atomic_store(&fuzz->block->valid[record->offer], below(fuzz, 4) ? offer.generation : 0);
    atomic_store(&record->stamp, seen->position + 1);
}

static void forge_reply(struct fuzz *fuzz, const struct shl_shm_peer *seen)
{
    unsigned index = (unsigned)below(fuzz, below(fuzz, 2) ? 4 : SHL_SHM_OFFERS + 1);
    bool demand = index == SHL_SHM_REPLY_TO_DEMAND;
    uint32_t generation = demand ? seen->demand.generation : seen->out[index].generation;
    struct shl_shm_reply *reply = &fuzz->block->replies[index];
    atomic_store(&reply->start, mostly(fuzz, 0));
    atomic_store(&reply->word, shl_shm_reply_word(generation, (uint32_t)mostly(fuzz, 4) & 0x1f,
                                                  (uint8_t)mostly(fuzz, 1 + 2 * below(fuzz, 2))));
}

static void forge_cell(struct fuzz *fuzz, const struct shl_shm_peer *seen)
{
    struct shl_shm_cell_head *head = &fuzz->block->heads[seen->cell_head % SHL_SHM_CELLS];
    head->offer = (uint16_t)mostly(fuzz, below(fuzz, 3));
    const struct shl_shm_incoming *in = &seen->in[head->offer % SHL_SHM_OFFERS];
    head->generation = (uint32_t)mostly(fuzz, in->generation);
    head->offset = mostly(fuzz, in->xfer ? in->xfer->moved_bytes : 0);
    head->bytes = (uint32_t)mostly(fuzz, 40000 / (1 + below(fuzz, 3)) / 4 * 4 % 32769);
    atomic_store(&head->stamp, seen->cell_head + 1);
}

static void forge_counter(struct fuzz *fuzz)
{
    _Atomic uint64_t *counters[] = {&fuzz->block->moved, &fuzz->block->credits,
                                    &fuzz->block->cells_read, &fuzz->block->posts};
    atomic_store(counters[below(fuzz, 4)], odd_number(fuzz));
}

static void forge_anything(struct fuzz *fuzz)
{
    uint64_t number = odd_number(fuzz);
    size_t at = below(fuzz, 2) ? below(fuzz, SHL_SHM_PAGE) : below(fuzz, sizeof(*fuzz->block));
    at = at < sizeof(*fuzz->block) - 8 ? at : 0;
    memcpy((uint8_t *)fuzz->block + at, &number, sizeof(number));
}

static void forge(struct fuzz *fuzz)
{
    const struct shl_shm_peer *seen = &fuzz->ranks[VICTIM].t->peers[HOSTILE];
    switch (below(fuzz, 8)) {
    case 0:
    case 1:
    case 2:
        forge_record(fuzz, seen);
        break;
    case 3:
        forge_reply(fuzz, seen);
        break;
    case 4:
        forge_cell(fuzz, seen);
        break;
    case 5:
        atomic_store(&fuzz->block->valid[below(fuzz, SHL_SHM_OFFERS)], odd_number(fuzz));
        break;
    case 6:
        if (below(fuzz, 10) == 0)
            forge_counter(fuzz);
        break;
    default:
        if (below(fuzz, 10) == 0)
            forge_anything(fuzz);
    }
}

static void sink(struct shl_xfer *xfer, uint64_t offset, const void *piece, size_t bytes)
{
    assert_true(offset <= xfer->bytes && bytes <= xfer->bytes - offset);
    memcpy((uint8_t *)xfer->data + offset, piece, bytes);
}

static void post_to_hostile(struct fuzz *fuzz)
{
    struct shl_transport *t = fuzz->ranks[VICTIM].t;
    for (uint32_t i = 0; i < 8; i++) {
        struct shl_xfer *xfer = &fuzz->xfers[i];
        bool small = i % 4 == 3;
        shm_xfer_init(xfer, HOSTILE, i % 2 + 1, i, i < 4 ? fuzz->from : fuzz->to + i % 4 * BYTES,
                      small ? 8 : BYTES);
        xfer->signature.count = BYTES;
        xfer->elem_bytes = 4;
        xfer->sink = i % 2 ? sink : NULL;
        assert_int_equal(i < 4 ? ops->send(t, xfer) : ops->recv(t, xfer), SHOAL_OK);
    }
}

static void talk_to_friend(struct fuzz *fuzz, uint64_t seq)
{
    static uint8_t from[50000], to[50000];
    struct shl_xfer send, recv;
    memset(from, (int)seq, sizeof(from));
    memset(to, 0, sizeof(to));
    shm_xfer_init(&send, VICTIM, 100 + seq, 0, from, sizeof(from));
    shm_xfer_init(&recv, FRIEND, 100 + seq, 0, to, sizeof(to));
    assert_int_equal(ops->send(fuzz->ranks[FRIEND].t, &send), SHOAL_OK);
    assert_int_equal(ops->recv(fuzz->ranks[VICTIM].t, &recv), SHOAL_OK);
    for (unsigned i = 0; i < 10000 && recv.status == SHOAL_IN_PROGRESS; i++) {
        ops->poll(fuzz->ranks[FRIEND].t);
        ops->poll(fuzz->ranks[VICTIM].t);
    }
    assert_int_equal(recv.status, SHOAL_OK);
    assert_memory_equal(from, to, sizeof(to));
    while (send.status == SHOAL_IN_PROGRESS)
        ops->poll(fuzz->ranks[FRIEND].t);
}

static void run_world(struct fuzz *fuzz)
{
    struct shm_rank *victim;
    fuzz->ranks = shm_world_open_here(&fuzz->world);
    victim = &fuzz->ranks[VICTIM];
    fuzz->block = fuzz->ranks[HOSTILE].t->peers[VICTIM].mine;
    post_to_hostile(fuzz);
    for (unsigned i = 0; i < STEPS && !victim->lost; i++) {
        forge(fuzz);
        ops->poll(victim->t);
        ops->arm(victim->t, true);
        ops->arm(victim->t, false);
        fuzz->survived += !victim->lost;
        if (below(fuzz, 50) == 0)
            ops->review(victim->t, 7, 1);
    }
    assert_in_range(victim->lost, 0, 1);
    if (victim->lost)
        assert_int_equal(victim->lost_peer, HOSTILE);
    ops->cancel(victim->t, 7, 1);
    ops->cancel(victim->t, 7, 2);
    talk_to_friend(fuzz, 1);
    shm_world_close_here(&fuzz->world, fuzz->ranks);
}

/* The buffers are exactly as large as what was posted, so that a sanitizer sees a step outside. */
static void test_garbage(void **s)
{
    (void)s;
    struct fuzz fuzz = {.random = shl_test_seed()};
    fuzz.from = calloc(1, BYTES);
    fuzz.to = calloc(4, BYTES);
    assert_non_null(fuzz.from);
    assert_non_null(fuzz.to);
    for (unsigned i = 0; i < WORLDS; i++) {
        shm_world_init(&fuzz.world, RANKS);
        fuzz.world.copy = i % 3;
        run_world(&fuzz);
    }
    printf("%llu forgeries a world went unnoticed\n", (unsigned long long)(fuzz.survived / WORLDS));
    assert_true(fuzz.survived / WORLDS >= 5); /* else it never gets deep */
    free(fuzz.from);
    free(fuzz.to);
}

static void expect_loss(void (*spoil)(struct fuzz *fuzz, const struct shl_shm_peer *seen),
                        const char *cause)
{
    struct fuzz fuzz = {.random = 1};
    shm_world_init(&fuzz.world, RANKS);
    fuzz.ranks = shm_world_open_here(&fuzz.world);
    fuzz.block = fuzz.ranks[HOSTILE].t->peers[VICTIM].mine;
    struct shm_rank *victim = &fuzz.ranks[VICTIM];
    spoil(&fuzz, &victim->t->peers[HOSTILE]);
    for (unsigned i = 0; i < 10; i++)
        ops->poll(victim->t);
    assert_int_equal(victim->lost, 1);
    assert_int_equal(victim->lost_peer, HOSTILE);
    if (!strstr(victim->lost_cause, cause))
        fail_msg("the cause is \"%s\", not \"%s\"", victim->lost_cause, cause);
    struct shl_xfer xfer;
    shm_xfer_init(&xfer, HOSTILE, 1, 0, NULL, 0);
    assert_int_equal(ops->send(victim->t, &xfer), SHOAL_ERR_PEER);
    assert_int_equal(ops->recv(victim->t, &xfer), SHOAL_ERR_PEER);
    talk_to_friend(&fuzz, 2);
    shm_world_close_here(&fuzz.world, fuzz.ranks);
}

static void unknown_kind(struct fuzz *fuzz, const struct shl_shm_peer *seen)
{
    struct shl_shm_record *record = (void *)fuzz->block->ring;
    record->kind = 99;
    atomic_store(&record->stamp, seen->position + 1);
}

static void two_offers_under_one_number(struct fuzz *fuzz, const struct shl_shm_peer *seen)
{
    for (uint64_t i = 0; i < 2; i++) {
        struct shl_shm_record *record = (void *)(fuzz->block->ring + 128 * i);
        struct shl_shm_offer offer = {.bytes = BYTES, .generation = 1};
        record->tag = (struct shl_tag){.seq = i, .comm = 7};
        record->kind = SHL_SHM_OFFER;
        record->offer = 5;
        record->bytes = sizeof(offer);
        memcpy(record->payload, &offer, sizeof(offer));
        atomic_store(&record->stamp, seen->position + 128 * i + 1);
    }
}

static void more_than_is_kept(struct fuzz *fuzz, const struct shl_shm_peer *seen)
{
    for (uint64_t i = 0; i < SHL_SHM_CREDITS + 1; i++) {
        struct shl_shm_record *record = (void *)(fuzz->block->ring + 64 * i);
        record->tag = (struct shl_tag){.seq = i, .comm = 7};
        record->kind = SHL_SHM_DATA;
        atomic_store(&record->stamp, seen->position + 64 * i + 1);
    }
}

static void test_causes(void **s)
{
    (void)s;
    expect_loss(unknown_kind, "kind 99");
    expect_loss(two_offers_under_one_number, "under number 5");
    expect_loss(more_than_is_kept, "more than the 64");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_causes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
