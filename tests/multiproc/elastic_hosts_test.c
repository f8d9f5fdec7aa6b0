/*
 * An elastic job on several hosts whose network loses in silence: what each member does when some
 * do not hear others, and that a short cut costs nobody its place.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/hosts.h"
#include "multiproc/members.h"

#include "support/test.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOSTS 4u
#define WHOLE_US 500000 /* between cuts, so that silences do not add up */

static const char *const tcp[] = {"SHOAL_TRANSPORT=tcp", NULL};

static struct members members;
static const struct members_job plain = {.start = HOSTS,
                                         .min = 1,
                                         .hosts = HOSTS,
                                         .settings = tcp,
                                         .elements = 2000,
                                         .body = members_loop};

static void open_job(const struct members_job *job)
{
    if (!hosts_open(HOSTS + 1))
        TEST_SKIP("no network namespaces here");
    members_open(&members, job);
    for (uint32_t i = 0; i < job->start; i++)
        members_await(&members, i, 20);
}

static const struct member_report *report(uint32_t slot)
{
    return &members.shared->reports[slot];
}

static uint32_t size_of_last(uint32_t slot)
{
    const struct member_report *of = report(slot);
    return of->saw[of->count - 1].contributors;
}

/* Until the last result of `slot` has so many contributors. */
static void await_size(uint32_t slot, uint32_t size)
{
    double end_s = members_now_s() + MEMBERS_SECONDS;
    while (size_of_last(slot) != size && !report(slot)->done && members_now_s() < end_s)
        usleep(1000);
    if (size_of_last(slot) != size)
        fail_msg("member %u: %u contributors, status %d: %s", slot, size_of_last(slot),
                 report(slot)->status, report(slot)->text);
}

static void await_done(uint32_t slot)
{
    double end_s = members_now_s() + MEMBERS_SECONDS;
    while (!report(slot)->done && members_now_s() < end_s)
        usleep(1000);
    assert_true(report(slot)->done);
}

/* Ends the job; who is in `left` ended well and saw the same as the others. */
static void close_job(const uint32_t *left, uint32_t count)
{
    members.shared->stop = 1;
    members_close(&members);
    for (uint32_t i = 0; i < count; i++)
        if (report(left[i])->status != SHOAL_OK)
            fail_msg("member %u: %d: %s", left[i], report(left[i])->status, report(left[i])->text);
    assert_true(members_check_history(&members, left, count) > 20);
}

/* Neither end of any connection is told; the others notice by silence, and it learns when the
 * network is back. */
static void a_host_that_is_cut_off_is_left_behind(void **state)
{
    const uint32_t left[] = {0, 2, 3};
    (void)state;
    open_job(&plain);
    hosts_cut_off(1);
    for (uint32_t i = 0; i < 3; i++)
        await_size(left[i], HOSTS - 1);
    hosts_heal();
    await_done(1);
    assert_int_equal(report(1)->status, SHOAL_ERR_EPOCH);
    close_job(left, 3);
}

struct cut {
    uint32_t ms;
    uint32_t from, to; /* the same: the whole host */
};

static void cut_and_heal(const struct cut *cut)
{
    double cut_s = members_now_s();
    if (cut->from == cut->to)
        hosts_cut_off(cut->from);
    else
        hosts_cut(cut->from, cut->to);
    usleep(cut->ms * 1000);
    hosts_heal();
    double healed_s = members_now_s();
    uint32_t before = report(3)->count;
    members_await(&members, 3, 2);
    print_message("after a cut of %.0f ms work went on within %.0f ms\n", (healed_s - cut_s) * 1e3,
                  (report(3)->saw[before].at_s - healed_s) * 1e3);
    usleep(WHOLE_US);
}

static void cuts_cost_nobody_its_place(const struct members_job *job, const struct cut *cuts,
                                       uint32_t count)
{
    const uint32_t all[] = {0, 1, 2, 3};
    open_job(job);
    uint64_t epoch = report(0)->saw[0].epoch;
    for (uint32_t i = 0; i < count; i++)
        cut_and_heal(&cuts[i]);
    close_job(all, 4);
    assert_int_equal(report(0)->saw[report(0)->count - 1].epoch, epoch);
}

/* Shorter than SHOAL_DEAD_AFTER_MS by what a busy machine needs to make and to end a cut; on an
 * idle one SHOAL_TEST_CUT_MS may come closer. */
static void a_short_cut_costs_nobody_its_place(void **state)
{
    const char *given = getenv("SHOAL_TEST_CUT_MS");
    uint32_t ms = given ? (uint32_t)strtoul(given, NULL, 10) : 600;
    const struct cut cuts[] = {{300, 0, 0}, {ms, 1, 1}, {ms, 0, 3}, {ms, 3, 0}};
    (void)state;
    cuts_cost_nobody_its_place(&plain, cuts, 4);
}

/* So long that TCP would repeat what was lost after seconds only. */
static void who_is_patient_keeps_its_place_for_longer(void **state)
{
    static const char *const patient[] = {"SHOAL_TRANSPORT=tcp", "SHOAL_DEAD_AFTER_MS=5000", NULL};
    const struct cut cuts[] = {{1000, 2, 2}, {1000, 3, 0}, {3000, 1, 1}};
    struct members_job job = plain;
    (void)state;
    job.settings = patient;
    cuts_cost_nobody_its_place(&job, cuts, 3);
}

/* One does not hear another, and both hear everybody else: one of the two has to go, once. */
static void a_one_way_cut_costs_one_member(void **state)
{
    (void)state;
    for (uint32_t way = 0; way < 2; way++) {
        open_job(&plain);
        uint64_t epoch = report(0)->saw[0].epoch;
        hosts_cut(way ? 3 : 1, way ? 1 : 3);
        await_size(0, HOSTS - 1);
        await_size(2, HOSTS - 1);
        hosts_heal();
        uint32_t gone = report(0)->saw[report(0)->count - 1].mask & 2 ? 3 : 1;
        await_done(gone);
        assert_int_equal(report(gone)->status, SHOAL_ERR_EPOCH);
        close_job((const uint32_t[]){0, 2, 4 - gone}, 3);
        assert_int_equal(report(0)->saw[report(0)->count - 1].epoch, epoch + 1);
    }
}

/* Whoever reaches a majority goes on; the others end. */
static void two_halves_and_a_store(void **state)
{
    const uint32_t left[] = {1, 2, 3};
    (void)state;
    open_job(&plain);
    for (uint32_t i = 1; i < HOSTS; i++) {
        hosts_cut(0, i);
        hosts_cut(i, 0);
    }
    for (uint32_t i = 0; i < 3; i++)
        await_size(left[i], HOSTS - 1);
    await_done(0); /* it reads in the store that it is out, cut off as it is from the members */
    assert_int_equal(report(0)->status, SHOAL_ERR_EPOCH);
    close_job(left, 3);
}

/* The coordinator's host is gone when a member dies, and comes back in time. */
static void a_failure_waits_for_the_coordinators_host(void **state)
{
    const uint32_t left[] = {0, 1, 3};
    struct members_job job = plain;
    (void)state;
    job.restarts = true;
    job.recovery_timeout_ms = 30000;
    open_job(&job);
    hosts_cut_off(HOSTS);
    kill(members.coordinator, SIGKILL);
    waitpid(members.coordinator, NULL, 0);
    members_await(&members, 0, 50);
    members_kill(&members, 2, SIGKILL);
    double end_s = members_now_s() + 0.5;
    while (members_now_s() < end_s)
        usleep(1000);
    hosts_heal();
    members_start_coordinator(&members);
    for (uint32_t i = 0; i < 3; i++)
        await_size(left[i], HOSTS - 1);
    close_job(left, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_host_that_is_cut_off_is_left_behind),
        cmocka_unit_test(a_short_cut_costs_nobody_its_place),
        cmocka_unit_test(who_is_patient_keeps_its_place_for_longer),
        cmocka_unit_test(a_one_way_cut_costs_one_member),
        cmocka_unit_test(two_halves_and_a_store),
        cmocka_unit_test(a_failure_waits_for_the_coordinators_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
