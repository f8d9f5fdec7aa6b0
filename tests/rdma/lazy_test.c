/*
 * Links that connect when they are first used: queue pairs exist only to neighbours, by rank, and
 * to peers that a schedule has used.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "rdma/in_place_world.h"

#include <errno.h>
#include <pthread.h>

#define RANKS 8

/* Queue pairs of a link: one for frames, and one a rail and lane. */
static uint32_t pairs_of(struct world *world, uint32_t rank, uint32_t peer)
{
    const struct shl_verbs_link *link = link_of(world, rank, peer);
    return (link->qp != NULL) + shl_verbs_direct_lanes(&link->direct);
}

static uint32_t peers_with_pairs(struct world *world, uint32_t rank)
{
    uint32_t count = 0;
    for (uint32_t peer = 0; peer < world->size; peer++)
        count += peer != rank && pairs_of(world, rank, peer) > 0;
    return count;
}

static bool are_neighbours(uint32_t size, uint32_t a, uint32_t b)
{
    return (a + 1) % size == b || (b + 1) % size == a;
}

/* Every rank meets another host at the start, and both ends of a pair know alike whether they do.
 */
static void every_rank_has_a_neighbour_elsewhere(void **state)
{
    static const char *const layouts[] = {"aaaabbbb", "aabbccdd", "abababab", "abcdefgh",
                                          "aaaaaaab"};
    (void)state;
    for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
        uint64_t hosts[RANKS];
        struct shl_transport_env envs[RANKS] = {0};
        struct shl_transport *t = calloc(RANKS, sizeof(*t));
        assert_non_null(t);
        for (uint32_t rank = 0; rank < RANKS; rank++) {
            hosts[rank] = (uint64_t)layouts[i][rank];
            envs[rank].rank = rank;
            envs[rank].size = RANKS;
            t[rank].env = &envs[rank];
            t[rank].hosts = hosts;
        }
        for (uint32_t rank = 0; rank < RANKS; rank++) {
            uint32_t elsewhere = 0;
            for (uint32_t peer = 0; peer < RANKS; peer++) {
                bool awake = peer != rank && !shl_verbs_sleeps_first(&t[rank], peer);
                elsewhere += awake && hosts[peer] != hosts[rank];
                assert_true(awake || !are_neighbours(RANKS, rank, peer));
                assert_true(peer == rank || awake == !shl_verbs_sleeps_first(&t[peer], rank));
            }
            assert_true(elsewhere > 0);
        }
        free(t);
    }
}

/* What another transport carries already costs no queue pair and no word. */
static bool is_even(void *arg, uint32_t peer)
{
    (void)arg;
    return peer % 2 == 0;
}

static void let_others_carry(struct world *world)
{
    for (uint32_t rank = 0; rank < world->size; rank += 2)
        world->ranks[rank].env.carried = is_even; /* even ranks reach each other */
}

static void carried_pairs_are_left_alone(void **state)
{
    (void)state;
    adjust_world = let_others_carry;
    struct world *world = NULL;
    assert_int_equal(world_create(&adapter, 4, 1, &world), SHOAL_OK);
    CHECK(world, !world->ranks[0].reaches[2] && !world->ranks[2].reaches[0]);
    CHECK(world, !link_of(world, 0, 2) && !link_of(world, 2, 0));
    CHECK(world, world->ranks[0].reaches[1] && world->ranks[1].reaches[3]);
    world_close(world);
}

/* One message an edge, both ends at the same time. */
static void exchange(struct world *world, uint32_t a, uint32_t b, uint64_t seq)
{
    for (uint32_t way = 0; way < 2; way++) {
        const struct message_plan plan = {.from = way ? b : a,
                                          .to = way ? a : b,
                                          .seq = seq,
                                          .msg = way,
                                          .bytes = way ? 100 : 40000};
        message_exchange(world, &plan);
    }
}

static struct world *open_ranks(uint32_t size)
{
    struct world *world = world_open(&adapter, size, 1);
    for (uint32_t rank = 0; rank < size; rank++)
        for (uint32_t peer = 0; peer < size; peer++)
            CHECK(world, peer == rank ||
                             (pairs_of(world, rank, peer) > 0) == are_neighbours(size, rank, peer));
    return world;
}

static void a_ring_needs_no_further_pairs(void **state)
{
    (void)state;
    for (uint32_t size = 4; size <= RANKS; size += 4) {
        struct world *world = open_ranks(size);
        for (uint32_t rank = 0; rank < size; rank++)
            exchange(world, rank, (rank + 1) % size, 1);
        for (uint32_t rank = 0; rank < size; rank++)
            CHECK(world, peers_with_pairs(world, rank) == 2);
        world_close(world);
    }
}

struct tree {
    struct world *world;
    uint32_t ends; /* of links that have pairs, over all ranks */
};

static bool is_grown(void *arg)
{
    const struct tree *tree = arg;
    uint32_t ends = 0;
    for (uint32_t rank = 0; rank < tree->world->size; rank++)
        ends += peers_with_pairs(tree->world, rank);
    return ends >= tree->ends;
}

static void a_tree_connects_its_edges(void **state)
{
    (void)state;
    for (uint32_t size = 4; size <= RANKS; size += 4) {
        struct world *world = open_ranks(size);
        uint32_t edges[RANKS] = {0}; /* of a rank that are no neighbours */
        for (uint32_t child = 1; child < size; child++) {
            uint32_t parent = child & (child - 1);
            exchange(world, parent, child, 1);
            edges[parent] += !are_neighbours(size, parent, child);
            edges[child] += !are_neighbours(size, parent, child);
        }
        struct tree tree = {world, 2 * size};
        for (uint32_t rank = 0; rank < size; rank++)
            tree.ends += edges[rank];
        world_run(world, is_grown, &tree); /* messages arrive before */
        for (uint32_t rank = 0; rank < size; rank++)
            CHECK(world, peers_with_pairs(world, rank) == 2 + edges[rank]);
        world_close(world);
    }
}

static bool is_connected(void *arg)
{
    struct world *world = arg;
    const struct shl_verbs_link *a = link_of(world, 0, 2), *b = link_of(world, 2, 0);
    return a->rail < RAILS && b->rail < RAILS && a->direct.up && b->direct.up;
}

/* Rails whose ways take longer to find come later. */
static bool has_all_pairs(void *arg)
{
    struct world *world = arg;
    return is_connected(arg) && pairs_of(world, 0, 2) == 1 + RAILS * qps &&
           pairs_of(world, 2, 0) == 1 + RAILS * qps;
}

static void check_pairs(struct world *world)
{
    world_run(world, has_all_pairs, world);
    for (uint32_t rank = 0; rank < world->size; rank++)
        for (uint32_t peer = 0; peer < world->size; peer++)
            CHECK(world, world->ranks[rank].lost_calls[peer] == 0);
}

/* Whoever uses the link first, or both at once; once it is connected, messages go in place. */
static void the_first_message_arrives_whoever_begins(void **state)
{
    static const uint64_t sizes[] = {0, 8, 8193, 4 * MIB};
    (void)state;
    for (uint32_t i = 0; i < 3 * sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct world *world = open_ranks(4);
        const struct message_plan plan = {.from = 0, .to = 2, .seq = 1, .bytes = sizes[i / 3]};
        struct message message;
        for (uint32_t rank = 0; rank < 4; rank++)
            world->ranks[rank].t->register_bytes = 64 * KIB;
        message_make(world, &plan, &message);
        if (i % 3 != 0)
            message_post_recv(&message);
        for (uint32_t polls = 0; i % 3 != 2 && polls < 100; polls++)
            world_poll(world);
        message_post_send(&message);
        if (i % 3 == 0)
            message_post_recv(&message);
        world_run(world, message_done, &message);
        message_verify(&message);
        message_free(&message);
        check_pairs(world);
        const struct message_plan large = {.from = 0, .to = 2, .seq = 2, .bytes = 4 * MIB};
        uint64_t before = link_of(world, 0, 2)->direct.bytes_sent;
        message_exchange(world, &large);
        CHECK(world, link_of(world, 0, 2)->direct.bytes_sent == before + large.bytes);
        world_close(world);
    }
}

/* ---- looking for the way --------------------------------------------------------------------- */

/* Pairs that other threads than the test's connect wait at a gate, as in a kernel that asks for the
 * peer's address; behind it they are connected, or not. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_t tester;
static atomic_uint at_gate, refusals;

static int wait_at_gate(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask)
{
    if (attr->qp_state == IBV_QPS_RTR && !pthread_equal(pthread_self(), tester)) {
        at_gate++;
        pthread_mutex_lock(&gate);
        pthread_mutex_unlock(&gate);
        unsigned left = refusals; /* for several threads */
        while (left > 0 && !atomic_compare_exchange_weak(&refusals, &left, left - 1))
            continue;
        if (left > 0)
            return ETIMEDOUT;
    }
    return verbs->modify_qp(qp, attr, mask);
}

static struct shl_verbs_sys gated;

static struct world *open_gated(void)
{
    struct world *world = open_ranks(4);
    gated = *shl_verbs;
    gated.modify_qp = wait_at_gate;
    tester = pthread_self();
    at_gate = 0;
    shl_verbs = &gated;
    pthread_mutex_lock(&gate);
    return world;
}

static bool somebody_is_at_the_gate(void *arg)
{
    (void)arg;
    return at_gate > 0;
}

/* The kernel takes its time to find the peer: what is posted meanwhile arrives meanwhile. */
static void nobody_waits_for_the_way(void **state)
{
    struct world *world = open_gated();
    (void)state;
    for (uint64_t seq = 1; seq < 4; seq++) {
        exchange(world, 0, 2, seq);
        world_run(world, somebody_is_at_the_gate, world);
        CHECK(world, link_of(world, 0, 2)->rail == SHL_VERBS_CHANNEL);
        CHECK(world, link_of(world, 2, 0)->rail == SHL_VERBS_CHANNEL);
    }
    pthread_mutex_unlock(&gate);
    check_pairs(world);
    exchange(world, 0, 2, 4);
    world_close(world);
}

/* A link may end while its way is looked for. */
static void a_link_may_end_before_its_way_is_found(void **state)
{
    struct world *world = open_gated();
    (void)state;
    exchange(world, 0, 2, 1);
    world_run(world, somebody_is_at_the_gate, world);
    world->ops->drop_peer(world->ranks[0].t, 2);
    pthread_mutex_unlock(&gate);
    exchange(world, 0, 1, 2);
    world_close(world);
}

static void retry_now(struct world *world, uint32_t rank, uint32_t peer)
{
    link_of(world, rank, peer)->move.retry_ns = 0;
}

static bool is_connected_hurrying(void *arg)
{
    struct world *world = arg;
    retry_now(world, 0, 2);
    retry_now(world, 2, 0);
    return is_connected(world);
}

static void forbid_tcp(void)
{
    for (uint32_t rank = 0; rank < 4; rank++)
        configs[rank].transport &= ~UINT64_C(2);
}

/* A moment's trouble costs nobody the peer, even where tcp is not allowed. */
static void a_way_that_is_not_found_at_once_is_looked_for_again(void **state)
{
    (void)state;
    adjust = forbid_tcp;
    refusals = 2 * RAILS; /* two quests find nothing: at most one try of each end, or two of one */
    struct world *world = open_gated();
    pthread_mutex_unlock(&gate);
    exchange(world, 0, 2, 1);
    world_run(world, is_connected_hurrying, world);
    CHECK(world, refusals == 0 && world->ranks[0].lost_calls[2] == 0);
    check_pairs(world);
    world_close(world);
}

/* Rank 2 cannot make its pair for frames on the first rail, the kernel's ways to which are fine. */
static const struct ibv_pd *without_pairs;

static struct ibv_qp *refuse_domain(struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
    errno = ENOMEM;
    return pd == without_pairs ? NULL : verbs->create_qp(pd, attr);
}

static bool no_rail_is_unfit(void *arg)
{
    struct world *world = arg;
    retry_now(world, 0, 2);
    retry_now(world, 2, 0);
    return !link_of(world, 0, 2)->move.unfit && !link_of(world, 2, 0)->move.unfit;
}

static void a_rail_without_pairs_is_not_chosen_again(void **state)
{
    (void)state;
    struct shl_verbs_sys table = *shl_verbs;
    table.create_qp = refuse_domain;
    shl_verbs = &table;
    struct world *world = open_ranks(4);
    without_pairs = world->ranks[2].t->rails[link_of(world, 2, 0)->first_rail].window_pd;
    exchange(world, 0, 2, 1);
    world_run(world, is_connected, world);
    CHECK(world, link_of(world, 0, 2)->rail != link_of(world, 0, 2)->first_rail);
    CHECK(world, link_of(world, 0, 2)->rail == link_of(world, 2, 0)->rail);
    exchange(world, 0, 2, 2);
    without_pairs = NULL;
    world_run(world, no_rail_is_unfit, world);
    exchange(world, 0, 2, 3);
    world_close(world);
}

/* ---- trouble --------------------------------------------------------------------------------- */

/* A peer that closes while the link sleeps is gone, not lost; and what is posted for it fails. */
static void a_peer_may_close_while_the_link_sleeps(void **state)
{
    struct world *world = open_ranks(4);
    struct shl_verbs_link *link = link_of(world, 0, 2);
    struct message message;
    const struct message_plan plan = {.from = 0, .to = 2, .seq = 1, .bytes = 8};
    (void)state;
    world->ops->close(world->ranks[2].t);
    world->ranks[2].t = NULL;
    world->ranks[2].crashed = true;
    while (link->state == SHL_VERBS_UP)
        world_poll(world);
    CHECK(world, link->state == SHL_VERBS_GONE && world->ranks[0].lost_calls[2] == 0);
    message_make(world, &plan, &message);
    CHECK(world, world->ops->send(world->ranks[0].t, &message.send) == SHOAL_ERR_PEER);
    message_free(&message);
    world_close(world);
}

/* No queue pair is made for frames: the control channel carries, if tcp is allowed. */
static bool only_neighbours;

static struct ibv_qp *refuse_pairs(struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
    errno = ENOMEM;
    return only_neighbours ? NULL : verbs->create_qp(pd, attr);
}

static struct shl_verbs_sys refusing;

static bool both_are_lost(void *arg)
{
    struct world *world = arg;
    if (world->ranks[0].lost_calls[2] == 0)
        retry_now(world, 0, 2);
    if (world->ranks[2].lost_calls[0] == 0)
        retry_now(world, 2, 0);
    return world->ranks[0].lost_calls[2] == 1 && world->ranks[2].lost_calls[0] == 1;
}

static void a_link_that_cannot_connect_goes_by_tcp_or_fails(void **state)
{
    (void)state;
    for (uint32_t strict = 0; strict < 2; strict++) {
        const struct message_plan plan = {.from = 0, .to = 2, .seq = 1, .bytes = 300000};
        struct message message;
        refusing = *shl_verbs;
        refusing.create_qp = refuse_pairs;
        adjust = strict ? forbid_tcp : NULL;
        only_neighbours = false;
        shl_verbs = &refusing;
        struct world *world = open_ranks(4);
        only_neighbours = true;
        message_make(world, &plan, &message);
        message_post_recv(&message);
        message_post_send(&message);
        if (strict) {
            world_run(world, both_are_lost, world);
            CHECK(world, world->ranks[0].lost[2] == SHOAL_ERR_PEER);
            world->ops->cancel(world->ranks[0].t, MESSAGE_COMM, 1);
            world->ops->cancel(world->ranks[2].t, MESSAGE_COMM, 1);
        } else {
            world_run(world, message_done, &message);
            message_verify(&message);
            CHECK(world, link_of(world, 0, 2)->rail == SHL_VERBS_CHANNEL);
        }
        CHECK(world, world->ranks[0].lost_calls[1] == 0);
        message_free(&message);
        world_close(world);
    }
}

/* Ports that go and return are no news for a link that sleeps; it finds those that work. */
static void a_sleeping_link_uses_the_ports_that_work(void **state)
{
    struct world *world = open_ranks(4);
    (void)state;
    world->ranks[0].t->rails[0].down = true;
    const struct message_plan plan = {.from = 0, .to = 2, .seq = 1, .bytes = 2 * MIB};
    message_exchange(world, &plan);
    world_run(world, is_connected, world);
    CHECK(world, link_of(world, 0, 2)->rail != 0 && link_of(world, 2, 0)->rail != 0);
    CHECK(world, !link_of(world, 0, 2)->direct.lanes[0].qp);
    world_close(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_rank_has_a_neighbour_elsewhere, set_up),
        cmocka_unit_test_setup(carried_pairs_are_left_alone, set_up),
        cmocka_unit_test_setup(a_ring_needs_no_further_pairs, set_up),
        cmocka_unit_test_setup(a_tree_connects_its_edges, set_up),
        cmocka_unit_test_setup(the_first_message_arrives_whoever_begins, set_up),
        cmocka_unit_test_setup(nobody_waits_for_the_way, set_up),
        cmocka_unit_test_setup(a_link_may_end_before_its_way_is_found, set_up),
        cmocka_unit_test_setup(a_way_that_is_not_found_at_once_is_looked_for_again, set_up),
        cmocka_unit_test_setup(a_rail_without_pairs_is_not_chosen_again, set_up),
        cmocka_unit_test_setup(a_peer_may_close_while_the_link_sleeps, set_up),
        cmocka_unit_test_setup(a_link_that_cannot_connect_goes_by_tcp_or_fails, set_up),
        cmocka_unit_test_setup(a_sleeping_link_uses_the_ports_that_work, set_up),
    };
    begin();
    return cmocka_run_group_tests_name("verbs_lazy", tests, NULL, NULL);
}
