/*
 * Some seconds of a job whose members are killed, stopped for a while, sent away and started at
 * random, whose TCP connections are reset, and whose store fails and comes back: a coordinator, or
 * with the argument `etcd` a cluster of three that loses its leader.
 *
 * SHOAL_TEST_SEED repeats a run, SHOAL_TEST_CHAOS_S makes it longer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/members.h"
#include "multiproc/resets.h"

#include "support/random.h"
#include "support/test.h"
#ifdef CHAOS_ETCD
#include "unit/elastic/store/etcd_cluster.h"
#endif

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHAOS_S 3
#define SLOTS 36 /* a member's value is 1 << slot */

static const char *const shm[] = {"SHOAL_TRANSPORT=shm", NULL};
static const char *const tcp[] = {"SHOAL_TRANSPORT=tcp", NULL};

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static const char *store; /* NULL: a coordinator of the job's own */

struct chaos {
    struct members members;
    uint64_t random;
    uint32_t next_slot;
    bool there[MEMBERS_MAX]; /* started, and nothing done to it */
    bool gone[MEMBERS_MAX];  /* asked to leave */
    uint32_t resets;
};

static uint32_t below(struct chaos *chaos, uint32_t limit)
{
    return (uint32_t)(shl_test_random(&chaos->random) % limit);
}

static uint32_t count_there(const struct chaos *chaos)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < chaos->next_slot; i++)
        count += chaos->there[i];
    return count;
}

/* It has taken part: whoever was just started does not count for a majority yet. */
static bool is_in(const struct chaos *chaos, uint32_t slot)
{
    return chaos->there[slot] && chaos->members.shared->reports[slot].count > 0;
}

static uint32_t count_in(const struct chaos *chaos)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < chaos->next_slot; i++)
        count += is_in(chaos, i);
    return count;
}

static uint32_t pick(struct chaos *chaos, uint32_t in)
{
    uint32_t at = below(chaos, in);
    for (uint32_t i = 0; i < chaos->next_slot; i++)
        if (is_in(chaos, i) && at-- == 0)
            return i;
    return 0;
}

static void start_one(struct chaos *chaos)
{
    if (chaos->next_slot == SLOTS)
        return;
    chaos->there[chaos->next_slot] = true;
    members_start(&chaos->members, chaos->next_slot++);
}

/* For less long than it would take to be given up. */
static void pause_one(struct chaos *chaos, uint32_t slot)
{
    members_kill(&chaos->members, slot, SIGSTOP);
    usleep(1000 * below(chaos, 400));
    members_kill(&chaos->members, slot, SIGCONT);
}

#ifdef CHAOS_ETCD
static struct etcd_cluster etcd;

static void lose_leader(struct chaos *chaos)
{
    uint32_t leader = etcd_leader(&etcd);
    etcd_member_kill(&etcd, leader);
    usleep(1000 * below(chaos, 300));
    etcd_member_start(&etcd, leader);
}
#else
static void lose_leader(struct chaos *chaos)
{
    (void)chaos;
}
#endif

static void restart_store(struct chaos *chaos)
{
    if (store) {
        lose_leader(chaos);
        return;
    }
    kill(chaos->members.coordinator, SIGKILL);
    waitpid(chaos->members.coordinator, NULL, 0);
    usleep(1000 * below(chaos, 300));
    members_start_coordinator(&chaos->members);
}

/* By a signal as a scheduler sends it, or by the program itself. */
static void send_away(struct chaos *chaos, uint32_t slot)
{
    chaos->there[slot] = false;
    chaos->gone[slot] = true;
    if (below(chaos, 2))
        members_kill(&chaos->members, slot, SIGTERM);
    else
        chaos->members.shared->leave = (int)slot + 1;
}

static void reset_some(struct chaos *chaos, uint32_t slot)
{
    int count = resets_send(chaos->members.pids[slot], &chaos->random);
    if (count > 0)
        chaos->resets += (uint32_t)count;
}

/* Never more than a minority at once: the policy is that of a majority. */
static void do_something(struct chaos *chaos)
{
    uint32_t there = count_there(chaos), in = count_in(chaos);
    switch (below(chaos, 7)) {
    case 0:
    case 1:
        if (in >= 4) {
            uint32_t slot = pick(chaos, in);
            chaos->there[slot] = false;
            members_kill(&chaos->members, slot, SIGKILL);
        }
        break;
    case 2:
        if (in >= 4)
            send_away(chaos, pick(chaos, in));
        break;
    case 3:
        if (in)
            pause_one(chaos, pick(chaos, in));
        break;
    case 4:
        restart_store(chaos);
        break;
    case 5:
        if (in)
            reset_some(chaos, pick(chaos, in));
        break;
    default:
        if (there < 6)
            start_one(chaos);
        break;
    }
    if (there < 4)
        start_one(chaos);
}

/* All that are there have made some steps since. */
static void catch_up(struct chaos *chaos)
{
    for (uint32_t i = 0; i < chaos->next_slot; i++)
        if (chaos->there[i])
            members_await(&chaos->members, i, 3);
}

static void run(enum shoal_step_mode mode, const char *const *settings)
{
    struct members_job job = {.start = 4,
                              .min = 1,
                              .mode = mode,
                              .settings = settings,
                              .store = store,
                              .restarts = true,
                              .recovery_timeout_ms = store ? 60000 : 0, /* elections */
                              .elements = 2000,
                              .body = members_steps};
    static struct chaos chaos;
    uint32_t left[MEMBERS_MAX], count = 0;
    uint64_t seed = number_from("SHOAL_TEST_SEED", (uint64_t)time(NULL));
    double end_s = members_now_s() + (double)number_from("SHOAL_TEST_CHAOS_S", CHAOS_S);
    print_message("SHOAL_TEST_SEED=%llu\n", (unsigned long long)seed);
    chaos = (struct chaos){.random = seed, .next_slot = 4};
    for (uint32_t i = 0; i < 4; i++)
        chaos.there[i] = true;
    members_open(&chaos.members, &job);
    catch_up(&chaos);
    while (members_now_s() < end_s && chaos.next_slot < SLOTS) {
        do_something(&chaos);
        if (below(&chaos, 3) == 0)
            catch_up(&chaos);
        else
            usleep(1000 * below(&chaos, 150));
    }
    catch_up(&chaos);
    chaos.members.shared->stop = 1;
    members_close(&chaos.members);
    for (uint32_t i = 0; i < chaos.next_slot; i++)
        if (chaos.there[i])
            left[count++] = i;
    for (uint32_t i = 0; i < chaos.next_slot; i++) {
        const struct member_report *report = &chaos.members.shared->reports[i];
        if ((chaos.there[i] || chaos.gone[i]) &&
            (report->join_status != SHOAL_OK || report->status != SHOAL_OK))
            fail_msg("member %u: %d, %d: %s", i, report->join_status, report->status, report->text);
    }
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(chaos.members.shared->reports[left[i]].state,
                         chaos.members.shared->reports[left[0]].state);
    print_message("%u members, %u connections reset\n", chaos.next_slot, chaos.resets);
    assert_true(members_check_history(&chaos.members, left, count) > 0);
    members_check_samples(&chaos.members, left, count);
}

static void retained_steps_shm(void **state)
{
    (void)state;
    run(SHOAL_STEP_RETAIN, shm);
}

static void retained_steps_tcp(void **state)
{
    (void)state;
    run(SHOAL_STEP_RETAIN, tcp);
}

static void aborted_steps(void **state)
{
    (void)state;
    run(SHOAL_STEP_ABORT, shm);
}

#ifdef CHAOS_ETCD
static void steps_over_etcd(void **state)
{
    (void)state;
    if (!etcd_is_installed())
        TEST_SKIP("no etcd here; on Debian: apt-get install etcd-server");
    etcd_cluster_start(&etcd, 3, false);
    store = etcd.address;
    run(SHOAL_STEP_RETAIN, tcp);
}

static int stop_etcd(void **state)
{
    (void)state;
    if (etcd.count)
        etcd_cluster_stop(&etcd);
    return 0;
}

static int run_with_etcd(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(steps_over_etcd, stop_etcd)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
static int run_with_etcd(void)
{
    return 77;
}
#endif

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(retained_steps_shm),
        cmocka_unit_test(retained_steps_tcp),
        cmocka_unit_test(aborted_steps),
    };
    if (argc > 1 && strcmp(argv[1], "etcd") == 0)
        return run_with_etcd();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
