/*
 * Reshards on many virtual ranks in one thread: right in any timing, on networks that overtake,
 * lose and repeat, and when memory runs out or a rank crashes in the middle.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim/cluster.h"
#include "support/fault.h"
#include "support/layouts.h"
#include "support/random.h"

#define SECOND (1000ull * MILLI)
#define TOTAL_MAX 20000

struct side {
    struct test_layout layout;
    uint32_t holder[TOTAL_MAX];
    uint64_t place[TOTAL_MAX], held[LAYOUT_RANKS_MAX];
    uint16_t *data[CLUSTER_RANKS_MAX];
};

struct move {
    uint64_t total;
    struct side from, to;
    struct shoal_request *requests[CLUSTER_RANKS_MAX];
    enum shoal_status status[CLUSTER_RANKS_MAX];
};

static struct move move;

static void draw_side(struct cluster *cluster, uint64_t *random, bool whole, struct side *side)
{
    test_layout_draw(random, move.total, cluster->size, whole, &side->layout);
    test_layout_model(&side->layout.layout, move.total, cluster->size, side->holder, side->place,
                      side->held);
    for (uint32_t rank = 0; rank < cluster->size; rank++) {
        side->data[rank] = calloc(side->held[rank] + 1, sizeof(uint16_t));
        CHECK(cluster, side->data[rank] != NULL);
    }
}

static void open_move(struct cluster *cluster, uint64_t random, uint64_t total_max)
{
    move.total = shl_test_random(&random) % total_max;
    draw_side(cluster, &random, true, &move.from);
    draw_side(cluster, &random, false, &move.to);
    for (uint64_t i = 0; i < move.total; i++)
        move.from.data[move.from.holder[i]][move.from.place[i]] = (uint16_t)(i * 40503u + 7);
}

static void close_move(uint32_t size)
{
    for (uint32_t rank = 0; rank < size; rank++) {
        free(move.from.data[rank]);
        free(move.to.data[rank]);
    }
}

/* Plans without the token, starts with it, as api/reshard.c does. */
static void start(struct cluster *cluster, uint32_t rank)
{
    struct member *member = &cluster->members[rank];
    struct shoal_reshard_call from = {.count = move.total,
                                      .dtype = SHOAL_F16,
                                      .from = &move.from.layout.layout,
                                      .to = &move.to.layout.layout,
                                      .send = move.from.data[rank],
                                      .recv = move.to.data[rank]};
    struct shoal_call call;
    struct shl_plan *plan;
    move.requests[rank] = NULL;
    move.status[rank] = shl_reshard_prepare(member->comm, &from, &call, &plan);
    if (move.status[rank] != SHOAL_OK)
        return;
    shl_token_take(member->engine);
    move.status[rank] = shl_request_start_planned(member->comm, &call, plan, &move.requests[rank]);
    if (move.status[rank] != SHOAL_OK)
        shl_plan_free(plan);
    else
        move.status[rank] = SHOAL_IN_PROGRESS;
    shl_token_give(member->engine);
}

/* A rank that could not even start makes the others wait: they give the operation up. */
static bool settled(struct cluster *cluster, uint32_t rank, uint64_t deadline_ns)
{
    struct member *member = &cluster->members[rank];
    struct shoal_request *request = move.requests[rank];
    if (move.status[rank] != SHOAL_IN_PROGRESS)
        return true;
    shl_token_take(member->engine);
    if (request->status == SHOAL_IN_PROGRESS && cluster_now_ns(cluster) >= deadline_ns)
        shl_incident_raise(member->comm, request->seq, SHOAL_ERR_TIMEOUT, "it took too long");
    move.status[rank] = request->status;
    if (request->status != SHOAL_IN_PROGRESS) {
        if (request->status < 0)
            shl_error_set(request->text);
        shl_request_free(request);
    }
    shl_token_give(member->engine);
    return move.status[rank] != SHOAL_IN_PROGRESS;
}

static void run(struct cluster *cluster, uint32_t crashes)
{
    uint64_t start_ns = cluster_now_ns(cluster), end_ns = start_ns + 120 * SECOND;
    for (uint32_t rank = 0; rank < cluster->size; rank++)
        start(cluster, rank);
    if (crashes < cluster->size) {
        for (int i = 0; i < 3; i++)
            cluster_turn(cluster, end_ns);
        cluster_crash(cluster, crashes);
    }
    for (bool waiting = true; waiting;) {
        waiting = false;
        for (uint32_t rank = 0; rank < cluster->size; rank++)
            if (!cluster->members[rank].crashed)
                waiting |= !settled(cluster, rank, start_ns + 2 * SECOND);
        CHECK(cluster, cluster_now_ns(cluster) < end_ns);
        if (waiting)
            cluster_turn(cluster, end_ns);
    }
}

static void verify(struct cluster *cluster)
{
    for (uint64_t i = 0; i < move.total; i++) {
        uint32_t rank = move.to.holder[i];
        if (rank != LAYOUT_NOBODY && move.status[rank] == SHOAL_OK)
            CHECK(cluster, move.to.data[rank][move.to.place[i]] == (uint16_t)(i * 40503u + 7));
    }
}

static void any_network(void **state)
{
    (void)state;
    uint64_t seed = shl_test_seed();
    for (uint64_t i = 0; i < 60; i++) {
        struct cluster_options options = {.size = 1 + (uint32_t)(i % 13),
                                          .seed = seed + i,
                                          .bad_network = i % 2 == 0,
                                          .bytes_per_second = i % 5 == 0 ? 1000000000 : 0};
        struct cluster *cluster = cluster_open(&options);
        for (uint64_t round = 0; round < 3; round++) {
            open_move(cluster, seed * 31 + i * 3 + round, i % 4 == 0 ? TOTAL_MAX : 400);
            run(cluster, UINT32_MAX);
            for (uint32_t rank = 0; rank < cluster->size; rank++)
                CHECK(cluster, move.status[rank] == SHOAL_OK);
            verify(cluster);
            close_move(options.size);
        }
        cluster_close(cluster);
    }
}

/* Whoever survives ends soon: with the result, or with the loss. */
static void a_rank_crashes(void **state)
{
    (void)state;
    uint64_t seed = shl_test_seed();
    for (uint64_t i = 0; i < 20; i++) {
        struct cluster_options options = {
            .size = 3 + (uint32_t)(i % 4), .seed = seed + i, .bytes_per_second = 100000000};
        struct cluster *cluster = cluster_open(&options);
        open_move(cluster, seed + i, TOTAL_MAX);
        run(cluster, (uint32_t)(i % options.size));
        for (uint32_t rank = 0; rank < cluster->size; rank++)
            if (!cluster->members[rank].crashed)
                CHECK(cluster,
                      move.status[rank] == SHOAL_OK || move.status[rank] == SHOAL_ERR_PEER);
        verify(cluster);
        cluster_close(cluster);
        close_move(options.size);
    }
}

static enum shoal_status one_life(void *arg)
{
    const struct cluster_options *options = arg;
    struct cluster *cluster;
    enum shoal_status first = SHOAL_OK;
    SHL_TRY(cluster_create(options, &cluster));
    run(cluster, UINT32_MAX);
    for (uint32_t rank = 0; rank < options->size && first == SHOAL_OK; rank++)
        first = move.status[rank];
    verify(cluster);
    char detail[SHL_ENGINE_TEXT];
    snprintf(detail, sizeof(detail), "%s", shl_error_text());
    cluster_close(cluster);
    if (first < 0)
        shl_error_set(detail);
    return first;
}

static void kth_allocation_fails(void **state)
{
    (void)state;
    struct cluster_options options = {.size = 3, .seed = 3};
    struct cluster *cluster = cluster_open(&options);
    open_move(cluster, 12, 400);
    cluster_close(cluster);
    uint64_t runs = shl_fault_sweep(SHL_FAULT_MEM, one_life, &options, 5000);
    assert_true(runs > 100);
    close_move(options.size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_network),
        cmocka_unit_test(a_rank_crashes),
        cmocka_unit_test(kth_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
