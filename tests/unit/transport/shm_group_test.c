/*
 * The exchange of a group: what is published is what is read, slots are never overrun, and a
 * destroyed group's last words can still be read.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"
#include "transport/group.h"
#include "transport/shm/shm.h"
#include "unit/transport/shm_world.h"

#include <poll.h>
#include <sched.h>
#include <string.h>

#define MEMBERS_MAX 16

struct fixture {
    struct shm_world world;
    struct shm_rank *ranks;
    uint64_t names[MEMBERS_MAX];
    struct shl_group *groups[MEMBERS_MAX];
};

static void make_groups(struct fixture *f)
{
    uint32_t members[MEMBERS_MAX];
    for (uint32_t i = 0; i < f->world.size; i++) {
        members[i] = i;
        assert_int_equal(shl_group_reserve(f->ranks[i].t, &f->names[i]), SHOAL_OK);
    }
    for (uint32_t i = 0; i < f->world.size; i++)
        assert_int_equal(
            shl_group_create(f->ranks[i].t, members, f->world.size, i, f->names, &f->groups[i]),
            SHOAL_OK);
}

static void destroy_groups(struct fixture *f)
{
    for (uint32_t i = 0; i < f->world.size; i++) {
        shl_group_destroy(f->groups[i]);
        shl_group_unreserve(f->ranks[i].t, f->names[i]);
    }
}

static void open_fixture(struct fixture *f, uint32_t size, uint32_t copy)
{
    shm_world_init(&f->world, size);
    f->world.copy = copy;
    f->ranks = shm_world_open_here(&f->world);
    make_groups(f);
}

static void close_fixture(struct fixture *f)
{
    destroy_groups(f);
    shm_world_close_here(&f->world, f->ranks);
}

static const struct shl_signature some = {.count = 5, .call = 6};

static void test_payloads(void **s)
{
    (void)s;
    static const uint32_t sizes[] = {0, 1, 7, 8, 9, 32, 96, 97, 4096, SHL_GROUP_PAYLOAD_BYTES};
    static uint8_t payload[SHL_GROUP_PAYLOAD_BYTES];
    struct fixture f;
    open_fixture(&f, 3, 0);
    for (unsigned k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
        uint64_t seq = k + 1;
        struct shl_group_look look = {0};
        struct shl_group_peek peek;
        for (uint32_t i = 0; i < sizes[k]; i++)
            payload[i] = (uint8_t)(i * 7 + k);
        assert_false(shl_group_peek(f.groups[1], 0, seq, 2, &peek));
        assert_true(shl_group_ready(f.groups[0], seq));
        shl_group_post(f.groups[0], seq, 2, &some, payload, sizes[k]);
        for (uint32_t reader = 0; reader < 3; reader++) {
            assert_true(shl_group_peek(f.groups[reader], 0, seq, 2, &peek));
            assert_true(shl_signature_equal(peek.signature, &some));
            assert_int_equal(peek.bytes, sizes[k]);
            assert_memory_equal(peek.payload, payload, sizes[k]);
            assert_false(shl_group_peek(f.groups[reader], 0, seq, 1, &peek));
        }
        assert_false(shl_group_gathered(f.groups[1], seq, 2, &some, &look));
        shl_group_post(f.groups[2], seq, 2, &some, payload, sizes[k]);
        assert_true(shl_group_gathered(f.groups[1], seq, 2, &some, &look));
        assert_true(shl_group_gathered(f.groups[1], seq, 2, &some, &look));
        assert_true(look.differences == 0);
        for (uint32_t i = 0; i < 3; i++)
            shl_group_finish(f.groups[i], seq);
    }
    close_fixture(&f);
}

/* A difference is kept, whoever differs and in what. */
static void test_differences(void **s)
{
    (void)s;
    const struct shl_signature others[] = {{.count = 4, .call = 6},
                                           {.count = 5, .call = 6 | 1ull << 63}};
    struct fixture f;
    open_fixture(&f, 3, 0);
    for (uint32_t k = 0; k < 4; k++) {
        uint32_t odd = k % 2 ? 2 : 0;
        uint64_t seq = k + 1;
        for (uint32_t i = 0; i < 3; i++)
            shl_group_post(f.groups[i], seq, 0, i == odd ? &others[k / 2] : &some, NULL, 0);
        for (uint32_t i = 0; i < 3; i++) {
            struct shl_group_look look = {0};
            const struct shl_signature *own = i == odd ? &others[k / 2] : &some;
            assert_true(shl_group_gathered(f.groups[i], seq, 0, own, &look));
            assert_true(look.differences != 0);
        }
        for (uint32_t i = 0; i < 3; i++)
            shl_group_finish(f.groups[i], seq);
    }
    close_fixture(&f);
}

static void test_slots_wait_for_the_slowest(void **s)
{
    (void)s;
    struct fixture f;
    open_fixture(&f, 3, 0);
    for (uint64_t seq = 10; seq < 14; seq++) {
        assert_true(shl_group_ready(f.groups[0], seq));
        shl_group_post(f.groups[0], seq, 0, &some, NULL, 0);
        shl_group_finish(f.groups[0], seq);
        shl_group_finish(f.groups[1], seq);
    }
    /* Rank 2 has read nothing yet. */
    assert_false(shl_group_ready(f.groups[0], 14));
    struct shl_group_peek peek;
    assert_true(shl_group_peek(f.groups[2], 0, 10, 0, &peek));
    shl_group_finish(f.groups[2], 10);
    assert_true(shl_group_ready(f.groups[0], 14));
    assert_false(shl_group_ready(f.groups[0], 15));
    /* Operations that never used the slots may lie between. */
    shl_group_finish(f.groups[2], 900);
    assert_true(shl_group_ready(f.groups[0], 1000));
    shl_group_finish(f.groups[2], 5); /* never backwards */
    assert_true(shl_group_ready(f.groups[0], 1001));
    close_fixture(&f);
}

static void test_progress_rides_with_posts(void **s)
{
    (void)s;
    struct fixture f;
    open_fixture(&f, 2, 0);
    for (uint64_t seq = 0; seq < 40; seq++) {
        struct shl_group_look looks[2] = {{0}};
        for (unsigned i = 0; i < 2; i++) {
            assert_true(shl_group_ready(f.groups[i], seq));
            shl_group_post(f.groups[i], seq, 0, &some, &seq, sizeof(seq));
        }
        for (unsigned i = 0; i < 2; i++) {
            assert_true(shl_group_gathered(f.groups[i], seq, 0, &some, &looks[i]));
            shl_group_finish(f.groups[i], seq);
        }
    }
    close_fixture(&f);
}

static void test_last_words_linger(void **s)
{
    (void)s;
    struct fixture f;
    open_fixture(&f, 2, 0);
    shl_group_post(f.groups[0], 3, 0, &some, "last", 5);
    shl_group_finish(f.groups[0], 3);
    shl_group_destroy(f.groups[0]);
    shl_group_unreserve(f.ranks[0].t, f.names[0]);
    /* A new group of rank 0 gets other slots. */
    uint64_t name;
    assert_int_equal(shl_group_reserve(f.ranks[0].t, &name), SHOAL_OK);
    assert_int_not_equal(name & 0xffff, f.names[0] & 0xffff);
    struct shl_group_peek peek;
    assert_true(shl_group_peek(f.groups[1], 0, 3, 0, &peek));
    assert_string_equal(peek.payload, "last");
    /* Once read they are used again. */
    shl_group_finish(f.groups[1], 3);
    shl_group_unreserve(f.ranks[0].t, name);
    assert_int_equal(shl_group_reserve(f.ranks[0].t, &name), SHOAL_OK);
    assert_int_equal(name & 0xffff, f.names[0] & 0xffff);
    assert_int_not_equal(name, f.names[0]);
    shl_group_unreserve(f.ranks[0].t, name);
    shl_group_destroy(f.groups[1]);
    shl_group_unreserve(f.ranks[1].t, f.names[1]);
    shm_world_close_here(&f.world, f.ranks);
}

static void test_sets_run_out(void **s)
{
    (void)s;
    static uint64_t names[SHL_SHM_SETS];
    struct fixture f;
    open_fixture(&f, 2, 0);
    uint32_t count = 0;
    while (shl_group_reserve(f.ranks[0].t, &names[count]) == SHOAL_OK)
        count++;
    assert_int_equal(count, SHL_SHM_SETS - 1);
    assert_non_null(strstr(shl_error_text(), "communicators"));
    while (count)
        shl_group_unreserve(f.ranks[0].t, names[--count]);
    close_fixture(&f);
}

static void test_wrong_members(void **s)
{
    (void)s;
    struct fixture f;
    open_fixture(&f, 2, 0);
    struct shl_group *group = NULL;
    uint64_t names[2] = {f.names[0], 0xffff};
    uint32_t members[2] = {0, 1};
    assert_int_equal(shl_group_create(f.ranks[0].t, members, 2, 0, names, &group), SHOAL_ERR_PEER);
    members[1] = 77;
    assert_int_equal(shl_group_create(f.ranks[0].t, members, 2, 0, f.names, &group),
                     SHOAL_ERR_INVALID);
    assert_null(group);
    close_fixture(&f);
}

static void test_mapped_buffers(void **s)
{
    (void)s;
    struct fixture f;
    open_fixture(&f, 2, 0);
    void *buffer;
    assert_int_equal(shl_heap_alloc(f.ranks[0].heap, 1 << 20, &buffer), SHOAL_OK);
    memset(buffer, 3, 1 << 20);
    struct shl_group_buffer description;
    shl_group_describe(f.groups[0], buffer, 1 << 20, &description);
    uint8_t *seen = shl_group_map(f.groups[1], 0, &description);
    assert_non_null(seen);
    assert_int_equal(seen[12345], 3);
    seen[777] = 9; /* a direct push */
    assert_int_equal(((uint8_t *)buffer)[777], 9);
    assert_ptr_equal(shl_group_map(f.groups[0], 0, &description), buffer);

    int ordinary = 5;
    shl_group_describe(f.groups[0], &ordinary, sizeof(ordinary), &description);
    assert_null(shl_group_map(f.groups[1], 0, &description));
    /* What a member publishes need not be true. */
    description.heap_offset = shl_heap_size(f.ranks[0].heap) - 4;
    description.bytes = 8;
    assert_null(shl_group_map(f.groups[1], 0, &description));
    description.heap_offset = UINT64_MAX - 10;
    description.bytes = UINT64_MAX;
    assert_null(shl_group_map(f.groups[1], 0, &description));
    assert_int_equal(shl_heap_free(f.ranks[0].heap, buffer), SHOAL_OK);
    close_fixture(&f);
}

static void test_pull(void **s)
{
    (void)s;
    struct fixture f;
    static uint8_t from[300000], to[300000];
    open_fixture(&f, 2, 0);
    if (!shl_group_can_pull(f.groups[0])) {
        close_fixture(&f);
        TEST_SKIP("process_vm_readv is not permitted here");
    }
    memset(from, 0x6b, sizeof(from));
    uint64_t address = (uint64_t)(uintptr_t)from;
    assert_int_equal(shl_group_pull(f.groups[1], 0, address, to, sizeof(to)), SHOAL_OK);
    assert_memory_equal(from, to, sizeof(to));
    memset(to, 0, sizeof(to));
    assert_int_equal(shl_group_pull(f.groups[1], 1, address, to, sizeof(to)), SHOAL_OK);
    assert_memory_equal(from, to, sizeof(to));
    assert_int_equal(shl_group_pull(f.groups[1], 0, 16, to, 8), SHOAL_ERR_PEER);
    close_fixture(&f);
    open_fixture(&f, 2, 1);
    assert_false(shl_group_can_pull(f.groups[0]));
    assert_int_equal(shl_group_pull(f.groups[0], 1, address, to, 8), SHOAL_ERR_UNSUPPORTED);
    close_fixture(&f);
}

static void test_hostile_slot(void **s)
{
    (void)s;
    struct fixture f;
    open_fixture(&f, 2, 0);
    shl_group_post(f.groups[0], 0, 0, &some, NULL, 0);
    uint8_t *area = (uint8_t *)f.ranks[0].t->area;
    struct shl_shm_set *set =
        (void *)(area + shl_shm_set_offset(2, (uint32_t)(f.names[0] & 0xffff)));
    atomic_store(&set->slots[0].progress, 60000);
    struct shl_group_peek peek;
    assert_false(shl_group_peek(f.groups[1], 0, 0, 0, &peek));
    shl_transport_shm.poll(f.ranks[1].t);
    assert_int_equal(f.ranks[1].lost, 1);
    assert_int_equal(f.ranks[1].lost_peer, 0);
    close_fixture(&f);
}

/* A post between the last look and the sleep is not slept through. */
static void test_arm_sees_posts(void **s)
{
    (void)s;
    struct fixture f;
    const struct shl_transport_ops *ops = &shl_transport_shm;
    open_fixture(&f, 2, 0);
    struct shl_group_look look = {0};
    struct pollfd bell = {.fd = ops->wait_fd(f.ranks[1].t), .events = POLLIN};
    assert_false(shl_group_gathered(f.groups[1], 0, 0, &some, &look));
    shl_group_post(f.groups[0], 0, 0, &some, NULL, 0);
    shl_group_wake(f.groups[0]); /* nobody sleeps yet */
    assert_false(ops->arm(f.ranks[1].t, true));
    ops->arm(f.ranks[1].t, false);
    assert_true(shl_group_gathered(f.groups[1], 0, 0, &some, &look));
    assert_true(ops->arm(f.ranks[1].t, true));
    assert_int_equal(poll(&bell, 1, 0), 0);
    shl_group_post(f.groups[0], 0, 1, &some, NULL, 0);
    shl_group_wake(f.groups[0]);
    assert_int_equal(poll(&bell, 1, 0), 1);
    ops->arm(f.ranks[1].t, false);
    assert_int_equal(poll(&bell, 1, 0), 0);
    /* An operation that was given up does not keep its rank awake. */
    look = (struct shl_group_look){0};
    assert_false(shl_group_gathered(f.groups[1], 1, 0, &some, &look));
    shl_group_post(f.groups[0], 1, 0, &some, NULL, 0);
    shl_group_finish(f.groups[1], 1);
    assert_true(ops->arm(f.ranks[1].t, true));
    ops->arm(f.ranks[1].t, false);
    close_fixture(&f);
}

static void run_on(int core)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
}

/* Two members wait on one core, then on two; who has posted is not waited for. */
static void test_who_waits_for_the_core(void **s)
{
    (void)s;
    cpu_set_t allowed;
    int cores[2], count = 0;
    assert_int_equal(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
    for (int i = 0; i < CPU_SETSIZE && count < 2; i++)
        if (CPU_ISSET(i, &allowed))
            cores[count++] = i;
    if (count < 2)
        TEST_SKIP("one core");
    struct fixture f;
    open_fixture(&f, 2, 0);
    const struct shl_group_look look = {0};
    run_on(cores[0]);
    assert_true(shl_group_waits_for_core(f.groups[0], 0, 0, &look)); /* not known yet */
    assert_true(shl_group_waits_for_core(f.groups[1], 0, 0, &look));
    run_on(cores[1]);
    assert_false(shl_group_waits_for_core(f.groups[1], 0, 0, &look));
    assert_true(shl_group_waits_for_core(f.groups[0], 0, 0, &look));
    run_on(cores[0]);
    assert_false(shl_group_waits_for_core(f.groups[0], 0, 0, &look));
    run_on(cores[1]);
    shl_group_post(f.groups[1], 0, 0, &some, NULL, 0);
    assert_false(shl_group_waits_for_core(f.groups[0], 0, 0, &look));
    assert_int_equal(sched_setaffinity(0, sizeof(allowed), &allowed), 0);
    shl_group_finish(f.groups[1], 0);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_payloads),
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_slots_wait_for_the_slowest),
        cmocka_unit_test(test_progress_rides_with_posts),
        cmocka_unit_test(test_last_words_linger),
        cmocka_unit_test(test_sets_run_out),
        cmocka_unit_test(test_wrong_members),
        cmocka_unit_test(test_mapped_buffers),
        cmocka_unit_test(test_pull),
        cmocka_unit_test(test_hostile_slot),
        cmocka_unit_test(test_arm_sees_posts),
        cmocka_unit_test(test_who_waits_for_the_core),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
