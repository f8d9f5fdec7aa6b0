/*
 * Every allocation of a whole life fails once: engines, communicator, plans, transfers, mail. Each
 * rank then has the right result or an error with a reason, in bounded time, and nothing leaks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim/script.h"
#include "support/fault.h"

#define SECOND (1000ull * MILLI)
#define SWEEP_MAX 20000
#define RANKS 3

static const struct script_op script[] = {
    {.collective = SHOAL_ALLREDUCE, .dtype = SHOAL_I32, .count = 10, .salt = 1},
    {.collective = SHOAL_REDUCE, .dtype = SHOAL_F64, .count = 3000, .root = 1, .salt = 2},
    {.collective = SHOAL_ALLGATHER, .dtype = SHOAL_U8, .count = 700, .salt = 3},
    {.collective = SHOAL_BROADCAST, .dtype = SHOAL_F32, .count = 9000, .root = 2, .salt = 4},
    {.collective = SHOAL_REDUCE_SCATTER, .dtype = SHOAL_I64, .count = 500, .salt = 5},
    {.collective = SHOAL_BARRIER},
};

static struct script_call calls[CLUSTER_RANKS_MAX];

/* The first error of any rank; results of the others are verified all the same. */
static enum shoal_status run_op(struct cluster *cluster, const struct script_op *op)
{
    struct script_op ops[CLUSTER_RANKS_MAX];
    enum shoal_status first = SHOAL_OK;
    for (uint32_t i = 0; i < RANKS; i++)
        ops[i] = *op;
    script_run(cluster, ops, 20 * MICRO, SECOND, 10 * SECOND, calls);
    for (uint32_t i = 0; i < RANKS; i++) {
        CHECK(cluster, calls[i].status <= 0);
        CHECK(cluster, calls[i].status == SHOAL_OK || calls[i].text[0] != '\0');
        if (calls[i].status == SHOAL_OK)
            script_verify(cluster, i, &calls[i]);
        else if (first == SHOAL_OK)
            first = shl_fail(calls[i].status, "%s", calls[i].text);
        script_free(&calls[i]);
    }
    return first;
}

static enum shoal_status whole_life(void *arg)
{
    const struct cluster_options *options = arg;
    struct cluster *cluster;
    SHL_TRY(cluster_create(options, &cluster));
    enum shoal_status status = SHOAL_OK;
    for (size_t i = 0; i < sizeof(script) / sizeof(script[0]) && status == SHOAL_OK; i++)
        status = run_op(cluster, &script[i]);
    char detail[SHL_ENGINE_TEXT];
    snprintf(detail, sizeof(detail), "%s", shl_error_text());
    cluster_close(cluster);
    if (status < 0)
        shl_error_set(detail);
    return status;
}

static void kth_allocation_fails(void **state)
{
    (void)state;
    struct cluster_options options = {.size = RANKS, .seed = 3};
    uint64_t runs = shl_fault_sweep(SHL_FAULT_MEM, whole_life, &options, SWEEP_MAX);
    assert_true(runs > 100);
}

/* Memory runs out and stays out. */
static void memory_runs_out(void **state)
{
    (void)state;
    struct cluster_options options = {.size = RANKS, .seed = 4};
    uint64_t runs =
        shl_fault_sweep(SHL_FAULT_MEM | SHL_FAULT_STICKY, whole_life, &options, SWEEP_MAX);
    assert_true(runs > 100);
}

/* ---- nothing is allocated once warm --------------------------------------------------------- */

static uint64_t count_allocations(struct cluster *cluster, unsigned rounds)
{
    uint64_t count = 0;
    for (unsigned round = 0; round < rounds; round++) {
        for (size_t i = 0; i < sizeof(script) / sizeof(script[0]); i++) {
            shl_fault_arm(SHL_FAULT_MEM, 0);
            assert_int_equal(run_op(cluster, &script[i]), SHOAL_OK);
            count += shl_fault_calls();
        }
    }
    return count;
}

static void warm_data_path_allocates_nothing(void **state)
{
    (void)state;
    shl_fault_install();
    struct cluster_options options = {.size = RANKS, .seed = 5};
    struct cluster *cluster = cluster_open(&options);
    (void)count_allocations(cluster, 20);
    uint64_t count = 1;
    for (unsigned window = 0; window < 5 && count > 0; window++)
        count = count_allocations(cluster, 10);
    CHECK(cluster, count == 0);
    cluster_close(cluster);
    shl_fault_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kth_allocation_fails),
        cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(warm_data_path_allocates_nothing),
    };
    return cmocka_run_group_tests_name("memory_sim", tests, NULL, NULL);
}
