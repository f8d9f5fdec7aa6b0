/*
 * A coordinator and its clients over real sockets.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/sock.h"
#include "core/sys.h"
#include "support/fault.h"
#include "support/leaks.h"
#include "support/test.h"
#include "unit/elastic/store/contract.h"
#include "unit/elastic/store/coordinator_scene.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the register -------------------------------------------------------------------------- */

static void it_keeps_the_contract(void **state)
{
    struct shl_coordinator *coordinator = scene_serve("127.0.0.1:0", scene.journal);
    struct shl_store_options options = {.config = &scene.patient,
                                        .address = shl_coordinator_address(coordinator),
                                        .job = "job",
                                        .key = &scene.key};
    (void)state;
    store_contract_register(&options);
    store_contract_rivals(&options);
    shl_coordinator_stop(coordinator);
}

static void addresses_of_every_kind(void **state)
{
    static struct store_user user;
    char local[64];
    (void)state;
    snprintf(local, sizeof(local), "@shoal-coordinator-test-%ld", (long)getpid());
    const char *addresses[] = {"localhost:0", "*:0", local};
    for (uint32_t i = 0; i < 3; i++) {
        struct shl_coordinator *coordinator = scene_serve(addresses[i], NULL);
        const char *address = shl_coordinator_address(coordinator);
        char dialled[SHL_SOCK_TEXT_BYTES];
        snprintf(dialled, sizeof(dialled), "%s%s", i == 1 ? "localhost" : "",
                 i == 1 ? address + 1 : address);
        scene_join(&user, &scene.patient, dialled);
        store_assert(store_user_read(&user), SHL_STORE_OK, 0, "");
        store_user_close(&user);
        shl_coordinator_stop(coordinator);
    }
}

static void addresses_that_mean_nothing(void **state)
{
    static const char *const addresses[] = {
        "", "host", "host:", "host:99999", ":1x", "nonsense://h"};
    static struct store_user user;
    (void)state;
    for (uint32_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        struct shl_store_options options = {
            .config = &scene.hasty, .address = addresses[i], .job = "job", .key = &scene.key};
        ASSERT_STATUS(SHOAL_ERR_INVALID, store_user_open(&user, &options));
        user.store = NULL;
        store_user_close(&user);
    }
}

/* ---- coordinators that end and come back --------------------------------------------------- */

static void restarted_with_its_journal_it_goes_on(void **state)
{
    static struct store_user user;
    char address[SHL_SOCK_TEXT_BYTES];
    struct shl_coordinator *coordinator = scene_serve("127.0.0.1:0", scene.journal);
    uint64_t incarnation = shl_coordinator_incarnation(coordinator);
    (void)state;
    assert_false(shl_coordinator_restored(coordinator));
    snprintf(address, sizeof(address), "%s", shl_coordinator_address(coordinator));
    scene_join(&user, &scene.patient, address);
    store_assert(store_user_swap(&user, 0, 0, "one", 3), SHL_STORE_OK, 1, "");
    for (uint64_t version = 1; version < 4; version++) {
        shl_coordinator_stop(coordinator);
        coordinator = scene_serve(address, scene.journal);
        assert_true(shl_coordinator_restored(coordinator));
        assert_true(shl_coordinator_incarnation(coordinator) == incarnation);
        store_assert(store_user_read_known(&user), SHL_STORE_OK, version, "one");
        store_assert(store_user_swap(&user, incarnation, version, "one", 3), SHL_STORE_OK,
                     version + 1, "");
    }
    store_user_close(&user);
    shl_coordinator_stop(coordinator);
}

static void without_its_journal_it_refuses_the_former_incarnation(void **state)
{
    static struct store_user user;
    char address[SHL_SOCK_TEXT_BYTES];
    struct shl_coordinator *coordinator = scene_serve("127.0.0.1:0", scene.journal);
    uint64_t incarnation = shl_coordinator_incarnation(coordinator);
    (void)state;
    snprintf(address, sizeof(address), "%s", shl_coordinator_address(coordinator));
    scene_join(&user, &scene.patient, address);
    store_assert(store_user_swap(&user, incarnation, 0, "one", 3), SHL_STORE_OK, 1, "");
    shl_coordinator_stop(coordinator);
    assert_int_equal(unlink(scene.journal), 0);
    coordinator = scene_serve(address, scene.journal);
    assert_true(shl_coordinator_incarnation(coordinator) != incarnation);
    (void)store_user_read_known(&user);
    store_assert(store_user_swap(&user, incarnation, 0, "two", 3), SHL_STORE_CONFLICT, 0, "");
    assert_true(user.answer.incarnation == shl_coordinator_incarnation(coordinator));
    store_user_close(&user);
    shl_coordinator_stop(coordinator);
}

/* An address that is free a moment later. */
static void reserve(char *text)
{
    struct shl_sockaddr addr, bound;
    int fd;
    assert_true(shl_sockaddr_parse("127.0.0.1", 0, &addr));
    ASSERT_OK(shl_sock_listen(&addr, 1, &fd, &bound));
    shl_fd->close(fd);
    shl_sockaddr_format(&bound, text, SHL_SOCK_TEXT_BYTES);
}

static struct shl_coordinator *late;

static void *serve_late(void *address)
{
    shl_time->sleep_ns(50000000);
    late = scene_serve(address, NULL);
    return NULL;
}

static void clients_may_come_first(void **state)
{
    static struct store_user user;
    char address[SHL_SOCK_TEXT_BYTES];
    pthread_t thread;
    (void)state;
    reserve(address);
    scene_join(&user, &scene.hasty, address);
    store_assert(store_user_read(&user), SHL_STORE_UNKNOWN, 0, NULL);
    store_assert(store_user_swap(&user, 0, 0, "lost", 4), SHL_STORE_UNKNOWN, 0, NULL);
    store_user_close(&user);
    scene_join(&user, &scene.patient, address);
    pthread_create(&thread, NULL, serve_late, address);
    store_assert(store_user_swap(&user, 0, 0, "first", 5), SHL_STORE_OK, 1, ""); /* waited for it */
    pthread_join(thread, NULL);
    store_user_close(&user);
    shl_coordinator_stop(late);
}

/* ---- coordinators in a process of their own ------------------------------------------------ */

struct child {
    pid_t pid;
    char address[SHL_SOCK_TEXT_BYTES];
};

/* The program that a child becomes: no sanitizer likes threads after a fork without exec. */
static int serve_until_killed(const char *address, const char *path, int tell)
{
    struct shl_coordinator *coordinator;
    struct shl_coordinator_options options = {.config = &scene.patient,
                                              .address = address,
                                              .job = "job",
                                              .key = &scene.key,
                                              .journal = path};
    char text[SHL_SOCK_TEXT_BYTES] = "";
    scene_begin();
    if (shl_coordinator_serve(&options, &coordinator) == SHOAL_OK)
        snprintf(text, sizeof(text), "%s", shl_coordinator_address(coordinator));
    else
        fprintf(stderr, "%s\n", shl_error_text());
    if (write(tell, text, sizeof(text)) != sizeof(text) || !text[0])
        return 1;
    for (;;)
        pause();
}

static void launch(struct child *child, const char *address)
{
    int ends[2];
    char tell[16];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    child->pid = fork();
    if (child->pid == 0) {
        int out = dup(ends[1]); /* without close-on-exec */
        snprintf(tell, sizeof(tell), "%d", out);
        execl("/proc/self/exe", "store_coordinator_test", address, scene.journal, tell, NULL);
        _exit(1);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], child->address, sizeof(child->address)), sizeof(child->address));
    close(ends[0]);
    assert_true(child->address[0] != 0);
}

static void end(struct child *child)
{
    int status;
    assert_int_equal(kill(child->pid, SIGKILL), 0);
    assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
}

/* Killed while a client writes as fast as it can: what was acknowledged stays, what was not
 * answered happened once or not at all, and the same client goes on. */
static void killed_again_and_again_it_loses_nothing(void **state)
{
    static struct store_user user;
    struct child child;
    uint64_t number = 0, version = 0, incarnation = 0;
    uint32_t unknown = 0;
    (void)state;
    launch(&child, "127.0.0.1:0");
    scene_join(&user, &scene.hasty, child.address);
    (void)store_user_read_known(&user);
    for (uint32_t life = 0; life < 12; life++) {
        for (uint32_t i = 0; i < 1 + life; i++) {
            uint64_t next = number + 1;
            if (i == life) /* while this one is on its way, more or less */
                kill(child.pid, life % 2 ? SIGKILL : 0);
            if (store_user_swap(&user, incarnation, version, &next, sizeof(next))->result !=
                SHL_STORE_OK)
                break;
            incarnation = user.answer.incarnation;
            version = user.answer.version;
            number = next;
        }
        bool is_unknown = user.answer.result == SHL_STORE_UNKNOWN;
        unknown += is_unknown;
        end(&child);
        launch(&child, child.address);
        const struct shl_store_answer *answer = store_user_read_known(&user);
        uint64_t found;
        assert_true(answer->incarnation == incarnation);
        memcpy(&found, answer->bytes, sizeof(found));
        assert_int_equal(answer->version, found);
        assert_true(found == number || (is_unknown && found == number + 1));
        number = version = found;
    }
    end(&child);
    store_user_close(&user);
    print_message("%u swaps without an answer\n", unknown);
}

static void stopped_it_is_unknown_and_continued_it_answers(void **state)
{
    static struct store_user user;
    struct child child;
    int status;
    (void)state;
    launch(&child, "127.0.0.1:0");
    scene_join(&user, &scene.hasty, child.address);
    (void)store_user_read_known(&user);
    assert_int_equal(kill(child.pid, SIGSTOP), 0);
    assert_int_equal(waitpid(child.pid, &status, WUNTRACED), child.pid);
    for (int i = 0; i < 3; i++)
        store_assert(store_user_read(&user), SHL_STORE_UNKNOWN, 0, NULL);
    kill(child.pid, SIGCONT);
    store_assert(store_user_read_known(&user), SHL_STORE_OK, 0, "");
    end(&child);
    store_assert(store_user_read(&user), SHL_STORE_UNKNOWN, 0, NULL);
    store_user_close(&user);
}

/* ---- failures ------------------------------------------------------------------------------ */

struct sweep {
    struct store_user user;
};

static enum shoal_status use_once(void *arg)
{
    struct sweep *sweep = arg;
    struct shl_coordinator *coordinator;
    struct shl_coordinator_options options = {.config = &scene.patient,
                                              .address = "127.0.0.1:0",
                                              .job = "job",
                                              .key = &scene.key,
                                              .journal = scene.journal};
    unlink(scene.journal);
    SHL_TRY(shl_coordinator_serve(&options, &coordinator));
    struct shl_store_options user_options = {.config = &scene.patient,
                                             .address = shl_coordinator_address(coordinator),
                                             .job = "job",
                                             .key = &scene.key};
    enum shoal_status status = store_user_open(&sweep->user, &user_options);
    if (status == SHOAL_OK) {
        enum shl_store_result result = store_user_swap(&sweep->user, 0, 0, "one", 3)->result;
        assert_true(result == SHL_STORE_OK || result == SHL_STORE_UNKNOWN);
        const struct shl_store_answer *answer = store_user_read_known(&sweep->user);
        assert_true(answer->version == 1 || (answer->version == 0 && result == SHL_STORE_UNKNOWN));
    } else {
        sweep->user.store = NULL;
    }
    store_user_close(&sweep->user);
    shl_coordinator_stop(coordinator);
    return status;
}

static void whatever_fails_once_nothing_leaks_or_hangs(void **state)
{
    static struct sweep sweep;
    (void)state;
    assert_true(shl_fault_sweep(SHL_FAULT_ALL, use_once, &sweep, 1000) > 60);
}

#define FRESH(test) cmocka_unit_test_setup(test, scene_remove_journal)

int main(int argc, char **argv)
{
    if (argc == 4)
        return serve_until_killed(argv[1], argv[2], atoi(argv[3]));
    const struct CMUnitTest tests[] = {
        FRESH(it_keeps_the_contract),
        FRESH(addresses_of_every_kind),
        FRESH(addresses_that_mean_nothing),
        FRESH(restarted_with_its_journal_it_goes_on),
        FRESH(without_its_journal_it_refuses_the_former_incarnation),
        FRESH(clients_may_come_first),
        FRESH(killed_again_and_again_it_loses_nothing),
        FRESH(stopped_it_is_unknown_and_continued_it_answers),
        FRESH(whatever_fails_once_nothing_leaks_or_hangs),
    };
    return cmocka_run_group_tests(tests, scene_set_up, scene_tear_down);
}
