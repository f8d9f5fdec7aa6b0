/*
 * Elastic jobs whose store is etcd, from end to end: agents (`shoal run --join etcd://...`) with a
 * worker each, and real servers, which fail too.
 *
 *     etcd_world_test SHOAL POD_WORKER
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "support/test.h"
#include "unit/elastic/store/etcd_cluster.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PODS_MAX 6
#define START 3
#define SECONDS 60

static const char *shoal, *worker;
static const char *recovery_ms = "60000"; /* the store comes back before that */
static struct etcd_cluster cluster;
static struct shl_test_temp temp;
static pid_t pods[PODS_MAX]; /* agents; 0: not started, or reaped */

/* ---- pods -------------------------------------------------------------------------------------
 */

static void path_of(char path[SHL_TEST_PATH_BYTES], const char *name)
{
    assert_true((size_t)snprintf(path, SHL_TEST_PATH_BYTES, "%.200s/%s", temp.path, name) <
                SHL_TEST_PATH_BYTES);
}

static void out_of(char path[SHL_TEST_PATH_BYTES], uint32_t pod)
{
    char name[16];
    snprintf(name, sizeof(name), "pod%u", pod);
    path_of(path, name);
}

static void be_agent(uint32_t pod, const char *restarts)
{
    char out[SHL_TEST_PATH_BYTES], stop[SHL_TEST_PATH_BYTES];
    out_of(out, pod);
    path_of(stop, "stop");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = open(out, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    execl(shoal, "shoal", "run", "--join", cluster.address, "--start", "3", "--min", "1", "--max",
          "8", "--restarts", restarts, "--backoff", "0.05", "--", worker, stop, recovery_ms, NULL);
    _exit(127);
}

static void start_pod(uint32_t pod, const char *restarts)
{
    pods[pod] = fork();
    assert_true(pods[pod] >= 0);
    if (pods[pod] == 0)
        be_agent(pod, restarts);
}

static void start_pods(const char *restarts)
{
    for (uint32_t i = 0; i < START; i++)
        start_pod(i, restarts);
}

static void kill_pod(uint32_t pod)
{
    assert_int_equal(kill(pods[pod], SIGKILL), 0);
    assert_int_equal(waitpid(pods[pod], NULL, 0), pods[pod]);
    pods[pod] = 0;
}

static uint32_t lines_with(uint32_t pod, const char *text, unsigned long long *last)
{
    char path[SHL_TEST_PATH_BYTES], line[512];
    uint32_t count = 0;
    out_of(path, pod);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof(line), file)) {
        const char *at = strstr(line, text);
        count += at != NULL;
        if (at && last)
            *last = strtoull(at + strlen(text), NULL, 10);
    }
    if (file)
        fclose(file);
    return count;
}

static void show(uint32_t pod)
{
    char command[SHL_TEST_PATH_BYTES + 32], path[SHL_TEST_PATH_BYTES];
    out_of(path, pod);
    snprintf(command, sizeof(command), "tail -n 20 '%s' >&2", path);
    if (system(command) != 0)
        print_error("pod %u printed nothing\n", pod);
}

static void await(uint32_t pod, const char *text, uint32_t count)
{
    uint64_t end_ns = shl_now_ns() + SECONDS * 1000000000ull;
    while (lines_with(pod, text, NULL) < count) {
        if (shl_now_ns() > end_ns) {
            show(pod);
            fail_msg("pod %u: no '%s', %u times", pod, text, count);
        }
        usleep(5000);
    }
}

/* Steps go on: it says so by lines that come after now. */
static void await_steps(uint32_t pod)
{
    await(pod, "step ", lines_with(pod, "step ", NULL) + 2);
}

static void end_well(void)
{
    char stop[SHL_TEST_PATH_BYTES];
    shl_test_temp_write(&temp, "stop", "", 0, stop);
    for (uint32_t i = 0; i < PODS_MAX; i++) {
        int status;
        if (!pods[i])
            continue;
        assert_int_equal(waitpid(pods[i], &status, 0), pods[i]);
        pods[i] = 0;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            show(i);
            fail_msg("pod %u ended with %x", i, (unsigned)status);
        }
        await(i, "done", 1);
    }
}

static int open_temp(void **state)
{
    (void)state;
    if (etcd_is_installed())
        shl_test_temp_create(&temp);
    return 0;
}

static int clean_up(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < PODS_MAX; i++)
        if (pods[i] > 0)
            kill_pod(i);
    if (cluster.count)
        etcd_cluster_stop(&cluster);
    memset(&cluster, 0, sizeof(cluster));
    if (temp.path[0])
        shl_test_temp_remove(&temp);
    temp.path[0] = '\0';
    return 0;
}

static void need_etcd(void)
{
    if (!etcd_is_installed())
        TEST_SKIP("no etcd here; on Debian: apt-get install etcd-server");
}

/* ---- tests ------------------------------------------------------------------------------------
 */

static void members_fail_and_join_over_one_server(void **state)
{
    (void)state;
    need_etcd();
    etcd_cluster_start(&cluster, 1, false);
    start_pods("5");
    await(0, "3 workers", 1);
    kill_pod(2);
    await(0, "2 workers", 1);
    await(1, "2 workers", 1);
    start_pod(3, "5");
    await(3, "3 workers", 1);
    await(0, "3 workers", 2);
    etcd_member_kill(&cluster, 0); /* nobody needs it, until somebody comes or goes */
    await_steps(0);
    etcd_member_start(&cluster, 0);
    kill_pod(1);
    await(0, "2 workers", 2);
    await(3, "2 workers", 1);
    end_well();
}

/* The leader goes with a worker, so that the change of view waits for an election. */
static void members_fail_and_join_while_a_cluster_loses_its_leader(void **state)
{
    (void)state;
    need_etcd();
    etcd_cluster_start(&cluster, 3, false);
    start_pods("5");
    for (uint32_t i = 0; i < START; i++)
        await(i, "3 workers", 1);
    uint32_t leader = etcd_leader(&cluster);
    etcd_member_kill(&cluster, leader);
    await_steps(0);
    kill_pod(2);
    await(0, "2 workers", 1);
    await(1, "2 workers", 1);
    start_pod(3, "5");
    await(3, "3 workers", 1);
    etcd_member_start(&cluster, leader);
    kill(cluster.members[etcd_leader(&cluster)].pid, SIGSTOP); /* as a host that is cut off */
    kill_pod(1);
    await(0, "2 workers", 2);
    await(3, "2 workers", 1);
    end_well();
}

/* All of the store is gone: training goes on. A failure then has nobody to decide it, and all
 * survivors end with the one status when their patience is over. */
static void training_goes_on_without_a_store_until_a_member_fails(void **state)
{
    (void)state;
    need_etcd();
    etcd_cluster_start(&cluster, 3, false);
    recovery_ms = "4000";
    start_pods("0");
    for (uint32_t i = 0; i < START; i++)
        await(i, "3 workers", 1);
    for (uint32_t i = 0; i < cluster.count; i++)
        etcd_member_kill(&cluster, i);
    for (uint32_t i = 0; i < START; i++)
        await_steps(i);
    kill_pod(2);
    unsigned long long last[2] = {0, 0};
    for (uint32_t i = 0; i < 2; i++) {
        int status;
        await(i, "ended by ", 1);
        if (!lines_with(i, shoal_status_string(SHOAL_ERR_STORE), NULL))
            show(i);
        assert_int_equal(lines_with(i, shoal_status_string(SHOAL_ERR_STORE), NULL), 1);
        assert_int_equal(waitpid(pods[i], &status, 0), pods[i]);
        pods[i] = 0;
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
        lines_with(i, "step ", &last[i]);
    }
    assert_true(last[0] == last[1] && last[0] > 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(members_fail_and_join_over_one_server, open_temp, clean_up),
        cmocka_unit_test_setup_teardown(members_fail_and_join_while_a_cluster_loses_its_leader,
                                        open_temp, clean_up),
        cmocka_unit_test_setup_teardown(training_goes_on_without_a_store_until_a_member_fails,
                                        open_temp, clean_up),
    };
    if (argc != 3)
        return 2;
    shoal = argv[1];
    worker = argv[2];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
