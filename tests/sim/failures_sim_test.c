/*
 * What goes wrong on many virtual ranks: disagreement at every position, absence, abort, crash,
 * partition. Everybody gets the same clear error in bounded virtual time, or the right result.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim/script.h"

#define SECOND (1000ull * MILLI)
#define TIMEOUT_NS (60 * SECOND) /* of operations that should not need one */
/* Silence is noticed after dead_after (1.2 s), and an incident waits 2 dead_after + 1 s at most. */
#define PEER_LIMIT_NS (5 * SECOND)
/* At once when a message shows it; else when the ranks that wait ask each other. */
#define MISMATCH_LIMIT_NS SECOND

static struct script_call calls[CLUSTER_RANKS_MAX];

static struct cluster *open_cluster(uint32_t size, uint64_t seed)
{
    struct cluster_options options = {.size = size, .seed = seed, .bad_network = seed % 2};
    struct cluster *cluster = cluster_open(&options);
    script_make_op(cluster);
    return cluster;
}

static void free_calls(struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->size; i++)
        script_free(&calls[i]);
}

/* The group is as good as before. */
static void verify_usable(struct cluster *cluster)
{
    struct script_op ops[CLUSTER_RANKS_MAX];
    for (uint32_t i = 0; i < cluster->size; i++)
        ops[i] = (struct script_op){.dtype = SHOAL_I32, .count = 100, .salt = 5};
    script_run(cluster, ops, 10 * MICRO, TIMEOUT_NS, 2 * TIMEOUT_NS, calls);
    for (uint32_t i = 0; i < cluster->size; i++) {
        if (calls[i].status != SHOAL_OK)
            print_error("rank %u afterwards: %d %s\n", i, calls[i].status, calls[i].text);
        CHECK(cluster, calls[i].status == SHOAL_OK);
        script_verify(cluster, i, &calls[i]);
    }
    free_calls(cluster);
}

/* ---- disagreement --------------------------------------------------------------------------- */

enum difference { OTHER_COLLECTIVE, OTHER_COUNT, OTHER_DTYPE, OTHER_OP, OTHER_ROOT, DIFFERENCES };

/* false: the collective has no such thing. */
static bool differ(struct script_op *op, enum difference difference, uint32_t size)
{
    bool reduces = op->collective == SHOAL_ALLREDUCE || op->collective == SHOAL_REDUCE ||
                   op->collective == SHOAL_REDUCE_SCATTER;
    switch (difference) {
    case OTHER_COLLECTIVE:
        op->collective = op->collective == SHOAL_ALLREDUCE ? SHOAL_BARRIER : SHOAL_ALLREDUCE;
        if (op->collective == SHOAL_BARRIER)
            *op = (struct script_op){.collective = SHOAL_BARRIER};
        op->root = 0;
        return true;
    case OTHER_COUNT:
        op->count++;
        return op->collective != SHOAL_BARRIER;
    case OTHER_DTYPE:
        op->dtype = SHOAL_F32;
        return op->collective != SHOAL_BARRIER;
    case OTHER_OP:
        op->op = SHOAL_MAX;
        return reduces;
    default:
        op->root = (op->root + 1) % size;
        return op->collective == SHOAL_BROADCAST || op->collective == SHOAL_REDUCE;
    }
}

static void verify_mismatch(struct cluster *cluster, uint32_t odd)
{
    char name[32];
    snprintf(name, sizeof(name), "rank %u called", odd);
    for (uint32_t i = 0; i < cluster->size; i++) {
        if (calls[i].status != SHOAL_ERR_MISMATCH)
            print_error("rank %u, odd %u: %d %s\n", i, odd, calls[i].status, calls[i].text);
        CHECK(cluster, calls[i].status == SHOAL_ERR_MISMATCH);
        CHECK(cluster, strcmp(calls[i].text, calls[0].text) == 0);
    }
    CHECK(cluster, strstr(calls[0].text, name) != NULL);
    CHECK(cluster, strstr(calls[0].text, "disagree on operation") != NULL);
}

/* false: the collective cannot differ in that. */
static bool mismatch_at(struct cluster *cluster, enum shoal_collective collective,
                        enum difference difference, uint32_t odd, size_t count)
{
    struct script_op ops[CLUSTER_RANKS_MAX];
    struct script_op normal = {.collective = collective, .dtype = SHOAL_I32, .count = count};
    if (collective == SHOAL_BARRIER)
        normal.count = 0;
    struct script_op other = normal;
    if (!differ(&other, difference, cluster->size))
        return false;
    for (uint32_t i = 0; i < cluster->size; i++)
        ops[i] = i == odd ? other : normal;
    script_run(cluster, ops, 100 * MICRO, TIMEOUT_NS, MISMATCH_LIMIT_NS, calls);
    verify_mismatch(cluster, odd);
    free_calls(cluster);
    return true;
}

/* Every collective with the odd rank at every position; every difference, or in turns one. */
static void mismatch_everywhere(uint32_t size, bool every_difference)
{
    struct cluster *cluster = open_cluster(size, size);
    for (uint32_t odd = 0; odd < size; odd++) {
        for (int collective = 0; collective < SHOAL_COLLECTIVE_COUNT; collective++) {
            for (unsigned i = 0; i < DIFFERENCES; i++) {
                enum difference difference = (odd + collective + i) % DIFFERENCES;
                size_t count = (odd + i) % 3 ? 5 : 3000;
                if (mismatch_at(cluster, collective, difference, odd, count) && !every_difference)
                    break;
            }
        }
        verify_usable(cluster);
    }
    cluster_close(cluster);
}

static void mismatch_at_every_position(void **state)
{
    (void)state;
    mismatch_everywhere(2, true);
    mismatch_everywhere(3, true);
    mismatch_everywhere(5, true);
    mismatch_everywhere(17, true);
    mismatch_everywhere(64, false);
}

/* One rank calls two operations in the other order. */
static void other_order(void **state)
{
    (void)state;
    for (uint32_t odd = 0; odd < 5; odd++) {
        struct cluster *cluster = open_cluster(5, odd);
        const struct script_op first = {.dtype = SHOAL_F32, .count = 100};
        const struct script_op second = {.collective = SHOAL_BROADCAST, .count = 10, .root = 2};
        for (unsigned turn = 0; turn < 2; turn++) {
            struct script_op ops[CLUSTER_RANKS_MAX];
            for (uint32_t i = 0; i < 5; i++)
                ops[i] = (i == odd) == (turn == 0) ? second : first;
            script_run(cluster, ops, 50 * MICRO, TIMEOUT_NS, MISMATCH_LIMIT_NS, calls);
            verify_mismatch(cluster, odd);
            free_calls(cluster);
        }
        verify_usable(cluster);
        cluster_close(cluster);
    }
}

/* ---- absence and abort ---------------------------------------------------------------------- */

static bool others_settled(struct cluster *cluster, uint32_t except)
{
    bool settled = true;
    for (uint32_t i = 0; i < cluster->size; i++)
        settled &= i == except || script_settled(cluster, i, &calls[i]);
    return settled;
}

/* One rank does not call: the others time out together, and it learns so when it does call. */
static void absent_rank(void **state)
{
    (void)state;
    for (uint32_t size = 2; size <= 9; size++) {
        struct cluster *cluster = open_cluster(size, size);
        uint32_t absent = size / 2;
        struct script_op op = {.dtype = SHOAL_F64, .count = 500};
        uint64_t start_ns = cluster_now_ns(cluster);
        for (uint32_t i = 0; i < size; i++) {
            if (i != absent)
                script_start(cluster, i, &op, SECOND, &calls[i]);
        }
        while (!others_settled(cluster, absent)) {
            CHECK(cluster, cluster_now_ns(cluster) < start_ns + 2 * SECOND);
            cluster_turn(cluster, UINT64_MAX);
        }
        CHECK(cluster, cluster_now_ns(cluster) >= start_ns + SECOND);
        script_start(cluster, absent, &op, SECOND, &calls[absent]);
        uint64_t end_ns = cluster_now_ns(cluster) + 100 * MILLI; /* as long as mail takes */
        while (!script_settled(cluster, absent, &calls[absent])) {
            CHECK(cluster, cluster_now_ns(cluster) < end_ns);
            cluster_turn(cluster, end_ns);
        }
        char name[40];
        snprintf(name, sizeof(name), "rank %u had not called", absent);
        for (uint32_t i = 0; i < size; i++) {
            CHECK(cluster, calls[i].status == SHOAL_ERR_TIMEOUT);
            CHECK(cluster, strstr(calls[i].text, name) != NULL);
        }
        free_calls(cluster);
        verify_usable(cluster);
        cluster_close(cluster);
    }
}

/* A rank aborts at some moment: nobody hangs, and who says OK has the right result. */
static void abort_at_any_moment(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct cluster *cluster = open_cluster(2 + seed % 7, seed);
        struct script_op op = script_random(cluster, 20000);
        uint32_t who = (uint32_t)cluster_random(cluster, cluster->size);
        for (uint32_t i = 0; i < cluster->size; i++)
            script_start(cluster, i, &op, TIMEOUT_NS, &calls[i]);
        for (uint64_t turns = cluster_random(cluster, 80); turns > 0; turns--)
            cluster_turn(cluster, UINT64_MAX);
        struct member *member = &cluster->members[who];
        if (!script_settled(cluster, who, &calls[who]))
            shl_incident_raise(member->comm, calls[who].request->seq, SHOAL_ERR_ABORTED, "enough");
        uint64_t end_ns = cluster_now_ns(cluster) + PEER_LIMIT_NS;
        while (!others_settled(cluster, UINT32_MAX)) {
            CHECK(cluster, cluster_now_ns(cluster) < end_ns);
            cluster_turn(cluster, end_ns);
        }
        for (uint32_t i = 0; i < cluster->size; i++) {
            CHECK(cluster, calls[i].status == SHOAL_OK || calls[i].status == SHOAL_ERR_ABORTED);
            if (calls[i].status == SHOAL_OK)
                script_verify(cluster, i, &calls[i]);
        }
        free_calls(cluster);
        verify_usable(cluster);
        cluster_close(cluster);
    }
}

/* ---- crash and partition -------------------------------------------------------------------- */

/* All living ranks come to an end within the limit: PEER, or OK with the right result. */
static void settle_after_loss(struct cluster *cluster)
{
    uint64_t end_ns = cluster_now_ns(cluster) + PEER_LIMIT_NS;
    for (bool waiting = true; waiting;) {
        waiting = false;
        for (uint32_t i = 0; i < cluster->size; i++) {
            if (!cluster->members[i].crashed)
                waiting |= !script_settled(cluster, i, &calls[i]);
        }
        CHECK(cluster, cluster_now_ns(cluster) < end_ns);
        if (waiting)
            cluster_turn(cluster, end_ns);
    }
}

static void verify_after_loss(struct cluster *cluster, const char *named)
{
    for (uint32_t i = 0; i < cluster->size; i++) {
        if (cluster->members[i].crashed)
            continue;
        if (calls[i].status == SHOAL_OK) {
            script_verify(cluster, i, &calls[i]);
            continue;
        }
        if (calls[i].status != SHOAL_ERR_PEER || strstr(calls[i].text, named) == NULL)
            print_error("rank %u: %d %s\n", i, calls[i].status, calls[i].text);
        CHECK(cluster, calls[i].status == SHOAL_ERR_PEER);
        CHECK(cluster, strstr(calls[i].text, named) != NULL);
    }
}

/* What is started later fails at once, or within the limit where the loss is not known yet. */
static void verify_broken(struct cluster *cluster)
{
    struct script_op op = {.dtype = SHOAL_I32, .count = 10};
    for (uint32_t i = 0; i < cluster->size; i++) {
        if (!cluster->members[i].crashed)
            script_start(cluster, i, &op, TIMEOUT_NS, &calls[i]);
    }
    settle_after_loss(cluster);
    for (uint32_t i = 0; i < cluster->size; i++) {
        if (!cluster->members[i].crashed) {
            CHECK(cluster, calls[i].status == SHOAL_ERR_PEER);
            script_free(&calls[i]);
        }
    }
}

static void crash_once(uint32_t size, uint64_t seed)
{
    struct cluster *cluster = open_cluster(size, seed);
    struct script_op op = script_random(cluster, 20000);
    uint32_t dead = (uint32_t)cluster_random(cluster, size);
    bool calls_before = cluster_random(cluster, 4) > 0;
    for (uint32_t i = 0; i < size; i++) {
        calls[i] = (struct script_call){.op = op};
        if (i != dead || calls_before)
            script_start(cluster, i, &op, TIMEOUT_NS, &calls[i]);
    }
    for (uint64_t turns = cluster_random(cluster, 60); turns > 0; turns--)
        cluster_turn(cluster, UINT64_MAX);
    cluster_crash(cluster, dead);
    settle_after_loss(cluster);
    char name[16];
    snprintf(name, sizeof(name), "rank %u", dead);
    verify_after_loss(cluster, name);
    free_calls(cluster);
    verify_broken(cluster);
    cluster_close(cluster);
}

static void crash_at_any_moment(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++)
        crash_once(2 + seed % 8, seed);
    for (uint64_t seed = 1; seed <= 4; seed++)
        crash_once(17 + 15 * (uint32_t)seed % 47, 1000 + seed);
}

static void two_crash_together(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct cluster *cluster = open_cluster(4 + seed % 6, seed);
        struct script_op op = script_random(cluster, 5000);
        for (uint32_t i = 0; i < cluster->size; i++)
            script_start(cluster, i, &op, TIMEOUT_NS, &calls[i]);
        for (unsigned n = 0; n < 2; n++) {
            for (uint64_t turns = cluster_random(cluster, 20); turns > 0; turns--)
                cluster_turn(cluster, UINT64_MAX);
            cluster_crash(cluster, (uint32_t)((seed + 2 * n) % cluster->size));
        }
        settle_after_loss(cluster);
        verify_after_loss(cluster, "rank");
        free_calls(cluster);
        verify_broken(cluster);
        cluster_close(cluster);
    }
}

static void partition_at_any_moment(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct cluster *cluster = open_cluster(2 + seed % 8, seed);
        struct script_op op = script_random(cluster, 20000);
        for (uint32_t i = 0; i < cluster->size; i++)
            script_start(cluster, i, &op, TIMEOUT_NS, &calls[i]);
        for (uint64_t turns = cluster_random(cluster, 60); turns > 0; turns--)
            cluster_turn(cluster, UINT64_MAX);
        /* Neither side is empty. */
        uint64_t side = 1 + cluster_random(cluster, (1u << (cluster->size - 1)) - 1);
        cluster_partition(cluster, side << 1);
        settle_after_loss(cluster);
        verify_after_loss(cluster, "rank");
        free_calls(cluster);
        verify_broken(cluster);
        cluster_close(cluster);
    }
}

/* A cut that heals before anybody calls it a loss costs only time. */
static void healed_cut_is_no_loss(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct cluster *cluster = open_cluster(2 + seed % 6, seed);
        struct script_op op = script_random(cluster, 20000);
        for (uint32_t i = 0; i < cluster->size; i++)
            script_start(cluster, i, &op, TIMEOUT_NS, &calls[i]);
        for (uint64_t turns = cluster_random(cluster, 20); turns > 0; turns--)
            cluster_turn(cluster, UINT64_MAX);
        shl_sim_network_cut(cluster->network, 0, 1, true);
        uint64_t heal_ns = cluster_now_ns(cluster) + 500 * MILLI;
        while (cluster_now_ns(cluster) < heal_ns)
            cluster_turn(cluster, heal_ns);
        shl_sim_network_cut(cluster->network, 0, 1, false);
        settle_after_loss(cluster);
        for (uint32_t i = 0; i < cluster->size; i++) {
            CHECK(cluster, calls[i].status == SHOAL_OK);
            script_verify(cluster, i, &calls[i]);
        }
        free_calls(cluster);
        verify_usable(cluster);
        cluster_close(cluster);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mismatch_at_every_position),
        cmocka_unit_test(other_order),
        cmocka_unit_test(absent_rank),
        cmocka_unit_test(abort_at_any_moment),
        cmocka_unit_test(crash_at_any_moment),
        cmocka_unit_test(two_crash_together),
        cmocka_unit_test(partition_at_any_moment),
        cmocka_unit_test(healed_cut_is_no_loss),
    };
    return cmocka_run_group_tests_name("failures_sim", tests, NULL, NULL);
}
