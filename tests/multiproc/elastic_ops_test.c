/*
 * Every operation of a world in steps whose members are killed: one outcome on all survivors, right
 * values, and each step counted once.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/members.h"

#include "support/test.h"

#include <signal.h>

#define START 4
#define BLOCK 300 /* elements of a member */

static const char *const shm[] = {"SHOAL_TRANSPORT=shm", NULL};
static const char *const tcp[] = {"SHOAL_TRANSPORT=tcp", NULL};

struct buffers {
    int64_t blocks[MEMBERS_MAX * BLOCK], gathered[MEMBERS_MAX * BLOCK], block[BLOCK];
    int64_t mine[2], sum[2], sent[2], reduced[2];
};

static struct buffers at; /* of this process; too large for a stack */

/* ---- steps of all operations ------------------------------------------------------------------
 */

static int call_all(struct member *self, const struct shoal_step *step, bool in_place)
{
    struct shoal_world *world = self->world;
    uint32_t root = (uint32_t)step->step % step->size;
    int64_t *own = in_place ? &at.blocks[step->rank * BLOCK] : at.block;
    int status = shoal_world_reduce_scatter(world, at.blocks, own, BLOCK, SHOAL_I64, SHOAL_SUM);
    if (status == SHOAL_OK)
        status = shoal_world_allgather(world, own, at.gathered, BLOCK, SHOAL_I64);
    if (status == SHOAL_OK)
        status = shoal_world_broadcast(world, at.mine, at.sent, 2, SHOAL_I64, root);
    if (status == SHOAL_OK)
        status = shoal_world_reduce(world, at.mine, at.reduced, 2, SHOAL_I64, SHOAL_SUM, root);
    if (status == SHOAL_OK)
        status = shoal_world_barrier(world);
    if (status == SHOAL_OK)
        status = shoal_world_allreduce(world, at.mine, at.sum, 2, SHOAL_I64, SHOAL_SUM);
    if (status == SHOAL_OK)
        status = shoal_step_commit(world, 1);
    return status;
}

static bool is_right(const struct shoal_step *step)
{
    int64_t mask = at.sum[1];
    for (uint32_t i = 0; i < step->size * BLOCK; i++)
        if (at.gathered[i] != mask * (1 + i))
            return false;
    bool root = step->step % step->size == step->rank;
    return __builtin_popcountll((uint64_t)mask) == (int)step->size && (at.sent[1] & mask) &&
           (!root || (at.reduced[0] == at.sum[0] && at.reduced[1] == mask));
}

static int one_step(struct member *self, bool *stop)
{
    struct shoal_step step = {.struct_size = sizeof(step)};
    int status = shoal_step_begin(self->world, &step);
    if (status != SHOAL_OK)
        return status;
    at.mine[0] = self->shared->stop;
    at.mine[1] = (int64_t)(1ull << self->slot);
    for (uint32_t i = 0; i < step.size * BLOCK; i++)
        at.blocks[i] = at.mine[1] * (1 + i);
    status = call_all(self, &step, step.step % 2);
    if (status != SHOAL_OK)
        return status;
    *stop = at.sum[0] > 0;
    members_note(self, step.step + 1, step.position, at.sum[1]);
    return is_right(&step) ? SHOAL_OK : SHOAL_ERR_INTERNAL;
}

static void steps_of_all(struct member *self)
{
    bool stop = false;
    int status = SHOAL_OK;
    while (status == SHOAL_OK && !stop) {
        status = one_step(self, &stop);
        if (status == SHOAL_ERR_STEP_RETRY) {
            self->report->retries++;
            status = SHOAL_OK;
        }
    }
    members_end_with(self, status);
}

/* Two of four are killed, at any point of a step; another one joins. */
static void steps_survive(enum shoal_step_mode mode, const char *const *settings)
{
    struct members_job job = {
        .start = START, .min = 1, .mode = mode, .settings = settings, .body = steps_of_all};
    const uint32_t left[] = {0, 2, 4};
    struct members members;
    members_open(&members, &job);
    for (uint32_t i = 0; i < START; i++)
        members_await(&members, i, 20);
    members_kill(&members, 3, SIGKILL);
    members_await(&members, 0, 20);
    members_kill(&members, 1, SIGKILL);
    members_start(&members, 4);
    for (uint32_t i = 0; i < 3; i++)
        members_await(&members, left[i], 20);
    members.shared->stop = 1;
    members_close(&members);
    members_check_ended(&members, left, 3);
    assert_true(members_check_history(&members, left, 3) >= 60);
    for (uint32_t i = 0; i < 2; i++) {
        const struct member_report *report = &members.shared->reports[left[i]];
        for (uint32_t n = 0; n < report->count; n++)
            assert_int_equal(report->saw[n].seq, n + 1); /* each once, none left out */
    }
}

static void all_operations_in_retained_steps(void **state)
{
    (void)state;
    steps_survive(SHOAL_STEP_RETAIN, shm);
    steps_survive(SHOAL_STEP_RETAIN, tcp);
}

static void all_operations_in_aborting_steps(void **state)
{
    (void)state;
    steps_survive(SHOAL_STEP_ABORT, shm);
    steps_survive(SHOAL_STEP_ABORT, tcp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_operations_in_retained_steps),
        cmocka_unit_test(all_operations_in_aborting_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
