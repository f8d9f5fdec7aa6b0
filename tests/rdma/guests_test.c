/*
 * An elastic job whose members are connected by RDMA between hosts that fail as a whole: guest
 * kernels that crash, stand still, or are cut off while the job's operations go on.
 *
 * Usage: rdma_guests_test GUEST_SH [nightly | chaos]     chaos: SHOAL_TEST_CHAOS_S seconds of it
 *        rdma_guests_test member FILE JOB SLOT...     what it runs in its guests
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/members.h"
#include "rdma/guest_member.h"
#include "rdma/guests.h"

#include "support/random.h"
#include "support/temp.h"
#include "support/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOSTS 3u
#define REPLACED (2 * HOSTS + 1) /* slot of a member on what is in the place of host 1 */
#define SHORT_US 1000000
#define LARGE 100000u /* elements of 8 bytes, which are written in place */
#define MEDIUM 20000u /* the same, for two members to a CPU */

/* Guests share this machine's CPUs: silence must be long before it means anything. */
#define SILENCE "SHOAL_DEAD_AFTER_MS=4000"
static const char *const verbs[] = {"SHOAL_TRANSPORT=verbs", SILENCE, NULL};
static const char *const both[] = {"SHOAL_TRANSPORT=shm,verbs", SILENCE, NULL};

enum { KEEP, STEPS, PAIRS };

#define JOB(size, count, how, what)                                                                \
    {                                                                                              \
        .start = (size), .min = 1, .elements = (count), .settings = (how), .body = (what),         \
        .address = GUESTS_BRIDGE ":7000"                                                           \
    }
static const struct members_job jobs[] = {
    [KEEP] = JOB(HOSTS, LARGE, verbs, members_keep),
    [STEPS] = JOB(HOSTS, LARGE, verbs, members_steps),
    [PAIRS] = JOB(2 * HOSTS, MEDIUM, both, members_steps),
};

static const char *guest_sh;
static struct members members;
static struct members_job job;
static uint32_t number;    /* of the job */
static uint32_t at[HOSTS]; /* slot of the member that each host has now */

/* In a child: the guest with this slot's member, and with that of the second slot of its host. */
static void boot_host(uint32_t slot)
{
    char of[16], which[16], second[16], program[256];
    ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (length < 0 || (slot >= HOSTS && slot < job.start))
        return;
    program[length] = 0;
    snprintf(of, sizeof(of), "%u", number);
    snprintf(which, sizeof(which), "%u", slot);
    snprintf(second, sizeof(second), "%u", slot + HOSTS);
    const char *const words[] = {
        program, "member", job.file, of, which, slot + HOSTS < job.start ? second : NULL, NULL};
    guests_boot(slot % HOSTS, words);
}

static void open_job(uint32_t which)
{
    static char file[SHL_TEST_PATH_BYTES];
    if (!guests_open(guest_sh, HOSTS))
        TEST_SKIP("guests cannot be hosts here");
    number = which;
    job = jobs[which];
    snprintf(file, sizeof(file), "%s/job", guests_folder());
    job.file = file;
    for (uint32_t i = 0; i < HOSTS; i++)
        at[i] = i;
    job.boot = boot_host;
    double began_s = members_now_s();
    members_open(&members, &job);
    for (uint32_t i = 0; i < job.start; i++)
        members_await(&members, i, 20);
    print_message("%u members in %u guests work after %.1f s\n", job.start, HOSTS,
                  members_now_s() - began_s);
}

static const struct member_report *report(uint32_t slot)
{
    return &members.shared->reports[slot];
}

static const struct member_saw *last(uint32_t slot)
{
    return &report(slot)->saw[report(slot)->count - 1];
}

/* Until the last result of `slot` has so many contributors. */
static void await_size(uint32_t slot, uint32_t size)
{
    double end_s = members_now_s() + MEMBERS_SECONDS;
    while (last(slot)->contributors != size && !report(slot)->done && members_now_s() < end_s)
        usleep(1000);
    if (last(slot)->contributors != size)
        fail_msg("member %u: %u contributors, status %d: %s", slot, last(slot)->contributors,
                 report(slot)->status, report(slot)->text);
}

/* A member that lives, and has been left behind, is told so. */
static void await_evicted(uint32_t slot)
{
    double end_s = members_now_s() + MEMBERS_SECONDS;
    while (!report(slot)->done && members_now_s() < end_s)
        usleep(1000);
    if (!report(slot)->done || report(slot)->status != SHOAL_ERR_EPOCH)
        fail_msg("member %u: done %d, status %d: %s", slot, report(slot)->done,
                 report(slot)->status, report(slot)->text);
}

/* Longest pause between two results of member 0 since it had seen `from` of them. */
static void print_pause(const char *of, uint32_t from)
{
    const struct member_report *zero = report(0);
    double longest_s = 0;
    for (uint32_t i = from ? from : 1; i < zero->count; i++) {
        double pause_s = zero->saw[i].at_s - zero->saw[i - 1].at_s;
        longest_s = pause_s > longest_s ? pause_s : longest_s;
    }
    print_message("%s: the others paused for %.0f ms\n", of, longest_s * 1e3);
}

/* Who is left ends well. What anybody saw, those included that did not come to the end, is what
 * who is left saw; but nobody else need have seen the last of those. */
static void close_job(const uint32_t *left, uint32_t count)
{
    uint32_t slots[MEMBERS_MAX], seen = count;
    memcpy(slots, left, count * sizeof(*left));
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        bool stays = false;
        for (uint32_t i = 0; i < count; i++)
            stays = stays || left[i] == slot;
        if (!stays && report(slot)->count)
            slots[seen++] = slot;
    }
    members_finish(&members, left, count, 20);
    for (uint32_t i = count; i < seen; i++)
        members.shared->reports[slots[i]].count--;
    assert_true(members_check_history(&members, slots, seen) >= 20);
}

/* Also after a failure, which the members' ends may explain. */
static int clean_up(void **state)
{
    (void)state;
    for (uint32_t slot = 0; members.shared && slot < MEMBERS_MAX; slot++) {
        const struct member_report *of = report(slot);
        if (of->count)
            print_message("member %u: %u results, the last of %llx; status %d %s\n", slot,
                          of->count, (unsigned long long)last(slot)->mask, of->status, of->text);
        if (members.pids[slot]) {
            kill(members.pids[slot], SIGTERM);
            waitpid(members.pids[slot], NULL, 0);
        }
    }
    if (members.coordinator) {
        kill(members.coordinator, SIGKILL);
        waitpid(members.coordinator, NULL, 0);
    }
    memset(&members, 0, sizeof(members));
    guests_close();
    return 0;
}

enum trouble { CUT_OFF, CUT, FREEZE };

/* Shorter than what counts as dead. */
static void short_trouble(enum trouble what, uint32_t host, uint32_t other)
{
    static const char *const names[] = {"cut off", "cut one way", "frozen"};
    double began_s = members_now_s();
    if (what == CUT_OFF)
        guests_cut_off(host);
    else if (what == CUT)
        guests_cut(host, other);
    else
        guests_freeze(host);
    usleep(SHORT_US);
    if (what == FREEZE)
        guests_thaw(host);
    else
        guests_heal();
    double ended_s = members_now_s();
    members_await(&members, at[0], 2);
    print_message("%s for %.0f ms: work went on after %.0f ms\n", names[what],
                  (ended_s - began_s) * 1e3, (members_now_s() - ended_s) * 1e3);
    for (uint32_t i = 0; i < HOSTS; i++)
        members_await(&members, at[i], 5);
}

static void short_troubles(void)
{
    uint64_t epoch = report(0)->saw[0].epoch;
    short_trouble(CUT_OFF, 0, 0);
    short_trouble(FREEZE, 1, 1);
    short_trouble(CUT, 0, 2);
    short_trouble(CUT, 2, 0);
    for (uint32_t i = 0; i < HOSTS; i++)
        assert_int_equal(last(i)->epoch, epoch);
}

/* A frozen host's kernel has packets to send when it goes on, and its members are in the middle of
 * writes to memory of the others, who have gone on without them. */
static void short_troubles_cost_nobody_its_place_and_a_long_freeze_does(void **state)
{
    (void)state;
    open_job(KEEP);
    short_troubles();
    uint32_t before = report(0)->count;
    guests_freeze(1);
    await_size(0, HOSTS - 1);
    await_size(2, HOSTS - 1);
    print_pause("frozen for long", before);
    members_await(&members, 0, 20);
    guests_count_rdma(1);
    guests_thaw(1);
    await_evicted(1);
    print_message("it has sent %llu RDMA packets since\n",
                  (unsigned long long)guests_rdma_packets());
    close_job((const uint32_t[]){0, 2}, 2);
}

static void a_host_that_is_cut_off_is_left_behind(void **state)
{
    (void)state;
    open_job(KEEP);
    uint32_t before = report(0)->count;
    guests_cut_off(1);
    await_size(0, HOSTS - 1);
    await_size(2, HOSTS - 1);
    print_pause("cut off for long", before);
    guests_heal();
    await_evicted(1);
    close_job((const uint32_t[]){0, 2}, 2);
}

/* Another machine takes its place, with the same address. */
static void crash_and_replace(uint32_t members_of_host)
{
    uint32_t before = report(0)->count, rest = job.start - members_of_host;
    /* guest.sh kills the guest, at once and with all in it. */
    members_kill(&members, 1, SIGTERM);
    await_size(0, rest);
    await_size(2, rest);
    print_pause("crashed", before);
    assert_int_equal(waitpid(members.pids[1], &members.exits[1], 0), members.pids[1]);
    members.pids[1] = 0;
    members_start(&members, REPLACED);
    members_await(&members, REPLACED, 5);
    await_size(0, rest + 1);
}

/* One does not hear another, and both hear everybody else: one of the two has to go, once.
 * Positions of steps rise with each view by more than one operation. */
static uint32_t cut_one_way(uint32_t from, uint32_t to)
{
    uint32_t before = report(0)->count;
    guests_cut(from % HOSTS, to % HOSTS);
    await_size(0, HOSTS - 1);
    print_pause("cut one way for long", before);
    uint32_t gone = last(0)->mask >> from & 1 ? to : from;
    await_size(from + to - gone, HOSTS - 1);
    guests_heal();
    await_evicted(gone);
    return from + to - gone;
}

static void a_host_that_crashes_is_replaced_and_one_way_cuts_cost_one(void **state)
{
    (void)state;
    open_job(STEPS);
    crash_and_replace(1);
    uint32_t stays = cut_one_way(REPLACED, 2);
    close_job((const uint32_t[]){0, stays}, 2);
}

/* Two members die at once with each host; those of one host share memory. */
static void a_host_that_crashes_takes_all_its_members(void **state)
{
    (void)state;
    open_job(PAIRS);
    crash_and_replace(2);
    close_job((const uint32_t[]){0, 2, 3, 5, REPLACED}, 5);
}

static void a_one_way_cut_ends_in_one_view(void **state)
{
    (void)state;
    open_job(KEEP);
    uint64_t epoch = report(0)->saw[0].epoch;
    uint32_t stays = cut_one_way(1, 2);
    close_job((const uint32_t[]){0, stays}, 2);
    assert_int_equal(last(0)->epoch, epoch + 1);
}

/* ---- chaos ------------------------------------------------------------------------------------
 */

/* Whoever is out of its host's machine makes room for another, which joins. */
static void replace(uint32_t host)
{
    uint32_t slot = at[host];
    assert_int_equal(waitpid(members.pids[slot], &members.exits[slot], 0), members.pids[slot]);
    members.pids[slot] = 0;
    at[host] = slot + HOSTS;
    members_start(&members, at[host]);
    members_await(&members, at[host], 5);
}

static void long_trouble(uint32_t what, uint32_t host)
{
    uint32_t other = at[(host + 1) % HOSTS];
    if (what == 0)
        members_kill(&members, at[host], SIGTERM);
    else if (what == 1)
        guests_freeze(host);
    else
        guests_cut_off(host);
    await_size(other, HOSTS - 1);
    members_await(&members, other, 5);
    if (what == 1)
        guests_thaw(host);
    else if (what == 2)
        guests_heal();
    if (what)
        await_evicted(at[host]);
    replace(host);
}

static void hosts_fail_at_random(void **state)
{
    (void)state;
    uint64_t random = shl_test_seed();
    const char *seconds = getenv("SHOAL_TEST_CHAOS_S");
    open_job(STEPS);
    double end_s = members_now_s() + (seconds ? atof(seconds) : 60);
    for (uint32_t round = 0; members_now_s() < end_s; round++) {
        uint32_t host = (uint32_t)(shl_test_random(&random) % HOSTS);
        uint32_t other = (host + 1 + (uint32_t)(shl_test_random(&random) % (HOSTS - 1))) % HOSTS;
        uint32_t what = (uint32_t)(shl_test_random(&random) % 6);
        print_message("round %u: trouble %u, host %u (%u)\n", round, what, host, other);
        if (what >= 3)
            short_trouble((enum trouble)(what - 3), host, other);
        else if (at[host] + HOSTS < MEMBERS_MAX)
            long_trouble(what, host);
    }
    close_job(at, HOSTS);
}

static int run_member(int argc, char **argv)
{
    const struct members_job *of = &jobs[atoi(argv[3])];
    for (int i = 5; i < argc; i++)
        if (fork() == 0) {
            guest_member_run(of, argv[2], (uint32_t)atoi(argv[i]));
            _exit(0);
        }
    guest_member_run(of, argv[2], (uint32_t)atoi(argv[4]));
    while (wait(NULL) > 0)
        continue;
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(short_troubles_cost_nobody_its_place_and_a_long_freeze_does,
                                  clean_up),
        cmocka_unit_test_teardown(a_host_that_crashes_is_replaced_and_one_way_cuts_cost_one,
                                  clean_up),
    };
    const struct CMUnitTest nightly[] = {
        cmocka_unit_test_teardown(a_host_that_is_cut_off_is_left_behind, clean_up),
        cmocka_unit_test_teardown(a_one_way_cut_ends_in_one_view, clean_up),
        cmocka_unit_test_teardown(a_host_that_crashes_takes_all_its_members, clean_up),
    };
    const struct CMUnitTest chaos[] = {
        cmocka_unit_test_teardown(hosts_fail_at_random, clean_up),
    };
    if (argc >= 5 && !strcmp(argv[1], "member"))
        return run_member(argc, argv);
    if (argc < 2)
        return 2;
    guest_sh = argv[1];
    if (argc > 2 && !strcmp(argv[2], "nightly"))
        return cmocka_run_group_tests(nightly, NULL, NULL);
    if (argc > 2 && !strcmp(argv[2], "chaos"))
        return cmocka_run_group_tests(chaos, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
