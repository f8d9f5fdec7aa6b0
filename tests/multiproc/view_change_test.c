/*
 * A member dies at each message of a view change in turn: the driver just before and just after it
 * tells the register and each member what it proposes and what was decided, and as it hears their
 * answers; the others as they hear it, say whom they miss, acknowledge from behind their fences,
 * and say where they listen in the new view. Those who are left always get to one view, with the
 * same results.
 *
 * Eight members fail two at a time: the last of them is killed, which begins a change, and whoever
 * steps into the trap dies in it. So one job has three such changes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/members.h"
#include "multiproc/trap.h"

#include "support/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MEMBERS 8
#define A_JOB 3 /* changes in one */
#define SMALL 16
#define LARGE 40000 /* elements: beyond what is kept instead of a completion round */

static const struct trap traps[] = {
    {TRAP_REACH, TRAP_BEFORE_SENDING, 1},
    {TRAP_REACH, TRAP_AFTER_SENDING, 1},
    {TRAP_REACH, TRAP_AFTER_SENDING, 2},
    {TRAP_REACH, TRAP_ON_RECEIPT, 1},
    {TRAP_PREPARE_SWAP, TRAP_BEFORE_SENDING, 1},
    {TRAP_PREPARE_SWAP, TRAP_AFTER_SENDING, 1},
    {TRAP_PREPARE_ANSWER, TRAP_ON_RECEIPT, 1},
    {TRAP_PREPARE, TRAP_BEFORE_SENDING, 1},
    {TRAP_PREPARE, TRAP_AFTER_SENDING, 1},
    {TRAP_PREPARE, TRAP_AFTER_SENDING, 2},
    {TRAP_PREPARE, TRAP_ON_RECEIPT, 1},
    {TRAP_ACK, TRAP_BEFORE_SENDING, 1},
    {TRAP_ACK, TRAP_AFTER_SENDING, 1},
    {TRAP_ACK, TRAP_ON_RECEIPT, 1},
    {TRAP_ACK, TRAP_ON_RECEIPT, 2},
    {TRAP_COMMIT_SWAP, TRAP_BEFORE_SENDING, 1},
    {TRAP_COMMIT_SWAP, TRAP_AFTER_SENDING, 1},
    {TRAP_COMMIT_ANSWER, TRAP_ON_RECEIPT, 1},
    {TRAP_COMMIT, TRAP_BEFORE_SENDING, 1},
    {TRAP_COMMIT, TRAP_AFTER_SENDING, 1},
    {TRAP_COMMIT, TRAP_AFTER_SENDING, 2},
    {TRAP_COMMIT, TRAP_ON_RECEIPT, 1},
    {TRAP_ADDRESSES, TRAP_BEFORE_SENDING, 1},
    {TRAP_ADDRESSES, TRAP_AFTER_SENDING, 1},
    {TRAP_ADDRESSES, TRAP_AFTER_SENDING, 2},
    {TRAP_ADDRESSES, TRAP_ON_RECEIPT, 1},
    {TRAP_ADDRESSES, TRAP_ON_RECEIPT, 2},
};

#define TRAPS (sizeof(traps) / sizeof(traps[0]))

static void loop(struct member *self)
{
    trap_enter();
    members_loop(self);
}

static void steps(struct member *self)
{
    trap_enter();
    members_steps(self);
}

/* ---- one change -------------------------------------------------------------------------------
 */

/* Slots that are left, in the order of their ranks. */
struct left {
    uint32_t slots[MEMBERS], count;
};

static void remove_at(struct left *left, uint32_t at)
{
    left->count--;
    for (; at < left->count; at++)
        left->slots[at] = left->slots[at + 1];
}

static void remove_caught(const struct members *members, struct left *left, const char *where)
{
    double end_s = members_now_s() + MEMBERS_SECONDS;
    while (!trap_caught() && members_now_s() < end_s)
        usleep(200);
    for (uint32_t i = 0; i < left->count; i++) {
        if (members->pids[left->slots[i]] != trap_caught())
            continue;
        remove_at(left, i);
        return;
    }
    fail_msg("%s: nobody of those who were left came there", where);
}

/* Until what this one saw last has just those who are left in it. */
static void await_view(const struct members *members, const struct left *left, uint32_t slot,
                       const char *where)
{
    const struct member_report *report = &members->shared->reports[slot];
    double end_s = members_now_s() + MEMBERS_SECONDS;
    uint64_t wanted = 0, seen = 0;
    for (uint32_t i = 0; i < left->count; i++)
        wanted |= UINT64_C(1) << left->slots[i];
    while (seen != wanted && members_now_s() < end_s && !report->done) {
        usleep(200);
        seen = report->saw[report->count - 1].mask;
    }
    if (seen != wanted)
        fail_msg("%s: member %u saw %llx last, where %llx are left; status %d: %s", where, slot,
                 (unsigned long long)seen, (unsigned long long)wanted, report->status,
                 report->text);
}

static void fail_twice(struct members *members, struct left *left, const struct trap *trap)
{
    const char *where = trap_text(trap);
    trap_lay(trap);
    members_kill(members, left->slots[left->count - 1], SIGKILL);
    remove_at(left, left->count - 1);
    remove_caught(members, left, where);
    for (uint32_t i = 0; i < left->count; i++)
        await_view(members, left, left->slots[i], where);
}

/* ---- jobs --------------------------------------------------------------------------------------
 */

static void find_ranks(const struct members *members, struct left *left)
{
    left->count = MEMBERS;
    for (uint32_t slot = 0; slot < MEMBERS; slot++)
        left->slots[members->shared->reports[slot].rank] = slot;
}

static void fail_at_each(const struct members_job *how)
{
    struct members_job job = *how;
    job.start = MEMBERS;
    job.min = 1;
    for (uint32_t first = 0; first < TRAPS; first += A_JOB) {
        struct members members;
        struct left left;
        trap_begin();
        members_open(&members, &job);
        for (uint32_t slot = 0; slot < MEMBERS; slot++)
            members_await(&members, slot, 5);
        find_ranks(&members, &left);
        for (uint32_t i = first; i < first + A_JOB && i < TRAPS; i++)
            fail_twice(&members, &left, &traps[i]);
        members_finish(&members, left.slots, left.count, 20);
    }
}

static const char *const shm[] = {"SHOAL_TRANSPORT=shm", "SHOAL_LOG_LEVEL=off", NULL};
static const char *const tcp[] = {"SHOAL_TRANSPORT=tcp", "SHOAL_LOG_LEVEL=off", NULL};

static void operations_go_on_shm(void **state)
{
    (void)state;
    fail_at_each(&(struct members_job){.settings = shm, .elements = SMALL, .body = loop});
}

static void steps_go_on_tcp(void **state)
{
    (void)state;
    fail_at_each(&(struct members_job){
        .settings = tcp, .elements = SMALL, .mode = SHOAL_STEP_RETAIN, .body = steps});
}

/* All else, at night. */
static void everything_goes_on(void **state)
{
    (void)state;
    static const enum shoal_step_mode modes[] = {SHOAL_STEP_RETAIN, SHOAL_STEP_ABORT};
    static const size_t sizes[] = {SMALL, LARGE};
    if (!getenv("TEST_NIGHTLY") || strcmp(getenv("TEST_NIGHTLY"), "1") != 0)
        TEST_SKIP("other operations, modes and transports are for the night: TEST_NIGHTLY=1");
    for (uint32_t i = 0; i < 8; i++) {
        struct members_job job = {.settings = i & 1 ? tcp : shm,
                                  .elements = sizes[i >> 1 & 1],
                                  .in_place = i >> 1 & 1,
                                  .body = i & 4 ? steps : loop};
        for (uint32_t mode = 0; mode < (i & 4 ? 2 : 1); mode++) {
            job.mode = modes[mode];
            fail_at_each(&job);
        }
    }
}

int main(void)
{
    trap_install();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations_go_on_shm),
        cmocka_unit_test(steps_go_on_tcp),
        cmocka_unit_test(everything_goes_on),
    };
    return cmocka_run_group_tests_name("view_change", tests, NULL, NULL);
}
