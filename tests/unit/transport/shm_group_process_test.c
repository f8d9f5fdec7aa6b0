/*
 * The exchange of a group among processes, one a member, over thousands of rounds of random sizes
 * and phases: each reads what the others published, spinning and asleep.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "support/random.h"
#include "support/test.h"
#include "transport/group.h"
#include "transport/shm/shm.h"
#include "unit/transport/shm_world.h"

#include <poll.h>
#include <string.h>

#define MEMBERS_MAX 16

static const struct shl_signature some = {.count = 5, .call = 6};

struct rounds {
    uint64_t count, seed;
    uint32_t size;
    bool sleepy;
};

static uint32_t size_of_round(const struct rounds *rounds, uint64_t seq, unsigned phase,
                              uint32_t rank)
{
    uint64_t state = rounds->seed + seq * 64 + phase * 16 + rank;
    uint64_t r = shl_test_random(&state);
    return r % 4 ? (uint32_t)(r >> 8) % 100 : (uint32_t)(r >> 8) % (SHL_GROUP_PAYLOAD_BYTES + 1);
}

static void fill(uint8_t *payload, uint32_t bytes, uint64_t seq, unsigned phase, uint32_t rank)
{
    for (uint32_t i = 0; i < bytes; i++)
        payload[i] = (uint8_t)(seq * 31 + phase * 7 + rank * 3 + i);
}

static void wait_for(struct shm_rank *self, struct shl_group *group, const struct rounds *rounds,
                     uint64_t seq, unsigned phase)
{
    const struct shl_transport_ops *ops = &shl_transport_shm;
    struct shl_group_look look = {0};
    uint64_t give_up_ns = shl_now_ns() + 40ull * 1000000000u;
    for (unsigned spins = 0; !shl_group_gathered(group, seq, phase, &some, &look); spins++) {
        MUST(shl_now_ns() < give_up_ns);
        if (!rounds->sleepy || spins < 20) {
            shl_time->yield();
            continue;
        }
        if (ops->arm(self->t, true)) {
            struct pollfd bell = {.fd = ops->wait_fd(self->t), .events = POLLIN};
            MUST(poll(&bell, 1, 20000) == 1);
        }
        ops->arm(self->t, false);
    }
}

static void exchange(struct shm_rank *self, struct shl_group *group, const struct rounds *rounds,
                     uint64_t seq, unsigned phase)
{
    static uint8_t payload[SHL_GROUP_PAYLOAD_BYTES];
    uint32_t rank = self->env.rank;
    uint32_t bytes = size_of_round(rounds, seq, phase, rank);
    fill(payload, bytes, seq, phase, rank);
    struct shl_signature signature = {.count = seq, .call = phase};
    shl_group_post(group, seq, phase, &signature, payload, bytes);
    shl_group_wake(group);
    wait_for(self, group, rounds, seq, phase);
    for (uint32_t i = 0; i < rounds->size; i++) {
        struct shl_group_peek peek;
        MUST(shl_group_peek(group, i, seq, phase, &peek));
        MUST(shl_signature_equal(peek.signature, &signature));
        MUST(peek.bytes == size_of_round(rounds, seq, phase, i));
        fill(payload, peek.bytes, seq, phase, i);
        MUST(memcmp(peek.payload, payload, peek.bytes) == 0);
    }
}

/* Names travel as ordinary messages, as the set-up of a communicator would send them. */
static struct shl_group *meet(struct shm_rank *self, uint32_t size, uint64_t *names)
{
    static struct shl_xfer xfers[2 * MEMBERS_MAX];
    uint32_t members[MEMBERS_MAX], count = 0, rank = self->env.rank;
    MUST(shl_group_reserve(self->t, &names[rank]) == SHOAL_OK);
    for (uint32_t i = 0; i < size; i++) {
        members[i] = i;
        for (unsigned send = 0; i != rank && send < 2; send++) {
            struct shl_xfer *xfer = &xfers[count++];
            shm_xfer_init(xfer, i, 1, 0, &names[send ? rank : i], sizeof(names[0]));
            MUST((send ? shl_transport_shm.send : shl_transport_shm.recv)(self->t, xfer) ==
                 SHOAL_OK);
        }
    }
    for (uint32_t k = 0; k < count; k++) {
        while (xfers[k].status == SHOAL_IN_PROGRESS) {
            if (!shl_transport_shm.poll(self->t))
                shl_time->yield();
        }
    }
    struct shl_group *group = NULL;
    MUST(shl_group_create(self->t, members, size, rank, names, &group) == SHOAL_OK);
    return group;
}

static int run_rounds(struct shm_world *world, uint32_t rank, void *arg)
{
    const struct rounds *rounds = arg;
    struct shm_rank self;
    uint64_t names[MEMBERS_MAX];
    MUST(shm_rank_open(world, &self, rank) == SHOAL_OK);
    struct shl_group *group = meet(&self, world->size, names);
    for (uint64_t seq = 1; seq <= rounds->count; seq++) {
        uint64_t give_up_ns = shl_now_ns() + 40ull * 1000000000u;
        while (!shl_group_ready(group, seq)) {
            MUST(shl_now_ns() < give_up_ns);
            shl_time->yield();
        }
        for (unsigned phase = 0; phase < 1 + seq % SHL_GROUP_PHASES; phase++)
            exchange(&self, group, rounds, seq, phase);
        shl_group_finish(group, seq);
    }
    shl_group_destroy(group);
    shl_group_unreserve(self.t, names[rank]);
    MUST(self.lost == 0);
    shm_rank_close(&self); /* others may still read what was posted last */
    return 0;
}

static void check_rounds(uint32_t size, uint64_t count, bool sleepy)
{
    struct shm_world world;
    struct rounds rounds = {
        .count = count, .seed = shl_test_seed(), .size = size, .sleepy = sleepy};
    shm_world_init(&world, size);
    unsigned wrong = shm_world_fork(&world, UINT32_MAX, run_rounds, &rounds);
    shm_world_close(&world);
    assert_int_equal(wrong, 0);
}

static void test_two_processes(void **s)
{
    (void)s;
    check_rounds(2, 20000, false);
    check_rounds(2, 3000, true);
}

static void test_five_processes(void **s)
{
    (void)s;
    check_rounds(5, 1500, false);
    check_rounds(5, 500, true);
}

static void test_eight_processes_asleep(void **s)
{
    (void)s;
    check_rounds(8, 300, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_processes),
        cmocka_unit_test(test_five_processes),
        cmocka_unit_test(test_eight_processes_asleep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
