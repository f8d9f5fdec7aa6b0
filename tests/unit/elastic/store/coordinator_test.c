/*
 * A coordinator and its clients over real sockets.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/store/coordinator.h"

#include "control/control.h"
#include "control/dial.h"
#include "control/mac.h"
#include "core/log.h"
#include "core/sys.h"
#include "elastic/store/wire.h"
#include "support/fault.h"
#include "support/leaks.h"
#include "support/store_user.h"
#include "support/temp.h"
#include "support/test.h"
#include "unit/elastic/store/contract.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct shl_config patient, hasty;
static struct shl_key key, other_key;
static struct shl_test_temp temp;
static char journal[SHL_TEST_PATH_BYTES + 32];

static void load(const char *setting, struct shl_config *config)
{
    char *const no_environment[] = {NULL};
    struct shl_config_options sources = {
        .environment = no_environment, .settings = &setting, .setting_count = 1};
    ASSERT_OK(shl_config_load(&sources, config));
}

static int set_up(void **state)
{
    (void)state;
    shl_log_configure(SHL_LOG_OFF, NULL);
    load("SHOAL_STORE_TIMEOUT_MS=30000", &patient);
    load("SHOAL_STORE_TIMEOUT_MS=50", &hasty);
    ASSERT_OK(shl_key_derive("0123456789abcdef", 16, "job", &key));
    ASSERT_OK(shl_key_derive("another secret..", 16, "job", &other_key));
    shl_test_temp_create(&temp);
    snprintf(journal, sizeof(journal), "%s/journal", temp.path);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    shl_test_temp_remove(&temp);
    shl_config_free(&patient);
    shl_config_free(&hasty);
    return 0;
}

static int remove_journal(void **state)
{
    (void)state;
    unlink(journal);
    return 0;
}

static struct shl_coordinator *serve(const char *address, const char *path)
{
    struct shl_coordinator *coordinator;
    struct shl_coordinator_options options = {
        .config = &patient, .address = address, .job = "job", .key = &key, .journal = path};
    ASSERT_OK(shl_coordinator_serve(&options, &coordinator));
    return coordinator;
}

static void join(struct store_user *user, const struct shl_config *config, const char *address)
{
    struct shl_store_options options = {
        .config = config, .address = address, .job = "job", .key = &key};
    ASSERT_OK(store_user_open(user, &options));
}

/* ---- the register -------------------------------------------------------------------------- */

static void it_keeps_the_contract(void **state)
{
    struct shl_coordinator *coordinator = serve("127.0.0.1:0", journal);
    struct shl_store_options options = {.config = &patient,
                                        .address = shl_coordinator_address(coordinator),
                                        .job = "job",
                                        .key = &key};
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
        struct shl_coordinator *coordinator = serve(addresses[i], NULL);
        const char *address = shl_coordinator_address(coordinator);
        char dialled[SHL_SOCK_TEXT_BYTES];
        snprintf(dialled, sizeof(dialled), "%s%s", i == 1 ? "localhost" : "",
                 i == 1 ? address + 1 : address);
        join(&user, &patient, dialled);
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
            .config = &hasty, .address = addresses[i], .job = "job", .key = &key};
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
    struct shl_coordinator *coordinator = serve("127.0.0.1:0", journal);
    uint64_t incarnation = shl_coordinator_incarnation(coordinator);
    (void)state;
    assert_false(shl_coordinator_restored(coordinator));
    snprintf(address, sizeof(address), "%s", shl_coordinator_address(coordinator));
    join(&user, &patient, address);
    store_assert(store_user_swap(&user, 0, 0, "one", 3), SHL_STORE_OK, 1, "");
    for (uint64_t version = 1; version < 4; version++) {
        shl_coordinator_stop(coordinator);
        coordinator = serve(address, journal);
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
    struct shl_coordinator *coordinator = serve("127.0.0.1:0", journal);
    uint64_t incarnation = shl_coordinator_incarnation(coordinator);
    (void)state;
    snprintf(address, sizeof(address), "%s", shl_coordinator_address(coordinator));
    join(&user, &patient, address);
    store_assert(store_user_swap(&user, incarnation, 0, "one", 3), SHL_STORE_OK, 1, "");
    shl_coordinator_stop(coordinator);
    assert_int_equal(unlink(journal), 0);
    coordinator = serve(address, journal);
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
    late = serve(address, NULL);
    return NULL;
}

static void clients_may_come_first(void **state)
{
    static struct store_user user;
    char address[SHL_SOCK_TEXT_BYTES];
    pthread_t thread;
    (void)state;
    reserve(address);
    join(&user, &hasty, address);
    store_assert(store_user_read(&user), SHL_STORE_UNKNOWN, 0, NULL);
    store_assert(store_user_swap(&user, 0, 0, "lost", 4), SHL_STORE_UNKNOWN, 0, NULL);
    store_user_close(&user);
    join(&user, &patient, address);
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
    struct shl_coordinator_options options = {
        .config = &patient, .address = address, .job = "job", .key = &key, .journal = path};
    char text[SHL_SOCK_TEXT_BYTES] = "";
    load("SHOAL_STORE_TIMEOUT_MS=30000", &patient);
    if (shl_key_derive("0123456789abcdef", 16, "job", &key) == SHOAL_OK &&
        shl_coordinator_serve(&options, &coordinator) == SHOAL_OK)
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
        execl("/proc/self/exe", "store_coordinator_test", address, journal, tell, NULL);
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
    join(&user, &hasty, child.address);
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
    join(&user, &hasty, child.address);
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

/* ---- strangers ----------------------------------------------------------------------------- */

static void a_wrong_secret_or_job_gets_nothing(void **state)
{
    static struct store_user user, honest;
    struct shl_coordinator *coordinator = serve("127.0.0.1:0", NULL);
    const char *address = shl_coordinator_address(coordinator);
    (void)state;
    struct shl_store_options wrong = {
        .config = &hasty, .address = address, .job = "job", .key = &other_key};
    ASSERT_OK(store_user_open(&user, &wrong));
    store_assert(store_user_swap(&user, 0, 0, "evil", 4), SHL_STORE_UNKNOWN, 0, NULL);
    store_user_close(&user);
    wrong.key = &key;
    wrong.job = "another job";
    ASSERT_OK(store_user_open(&user, &wrong));
    store_assert(store_user_swap(&user, 0, 0, "evil", 4), SHL_STORE_UNKNOWN, 0, NULL);
    store_user_close(&user);
    join(&honest, &patient, address);
    store_assert(store_user_read(&honest), SHL_STORE_OK, 0, "");
    store_user_close(&honest);
    shl_coordinator_stop(coordinator);
}

static int connect_to(const char *address)
{
    struct shl_sockaddr addr;
    char host[SHL_SOCK_TEXT_BYTES];
    uint16_t port;
    int fd;
    ASSERT_OK(shl_sock_split(address, -1, host, sizeof(host), &port));
    assert_true(shl_sockaddr_parse(host, port, &addr));
    ASSERT_OK(shl_sock_connect(&addr, &fd));
    ASSERT_OK(shl_sock_wait(fd, POLLOUT, shl_now_ns() + 10000000000ull));
    return fd;
}

static int dialled_fd;
static bool is_dialled;

static void on_dialled(void *arg, const struct shl_dial_result *result)
{
    (void)arg;
    dialled_fd = result->outcome == SHL_DIAL_CONNECTED ? result->fd : -1;
    is_dialled = true;
}

/* An authenticated channel of some kind; the descriptor, or -1. */
static int authenticate(const char *address, uint8_t kind, uint64_t patience_ns)
{
    struct shl_loop loop;
    struct shl_dialler dialler;
    struct shl_dial_target target = {.count = 1};
    char host[SHL_SOCK_TEXT_BYTES];
    uint16_t port;
    ASSERT_OK(shl_sock_split(address, -1, host, sizeof(host), &port));
    assert_true(shl_sockaddr_parse(host, port, &target.addresses[0]));
    ASSERT_OK(shl_loop_init(&loop));
    shl_dialler_init(&dialler, &loop);
    dialler.key = &key;
    dialler.hello = (struct shl_hello){.kind = kind, .target_rank = SHL_RANK_ANY};
    ASSERT_OK(shl_mac_job_hash("job", dialler.hello.job));
    dialler.target = &target;
    dialler.deadline_ns = shl_now_ns() + patience_ns;
    dialler.done = on_dialled;
    is_dialled = false;
    shl_dialler_start(&dialler);
    while (!is_dialled)
        shl_loop_turn(&loop, UINT64_MAX);
    shl_dialler_stop(&dialler);
    shl_loop_fini(&loop);
    return dialled_fd;
}

/* Whoever it is, what it says is not answered, and the connection ends. */
static void assert_dropped(int fd)
{
    char byte;
    ASSERT_STATUS(SHOAL_ERR_PEER, shl_sock_recv_all(fd, &byte, 1, shl_now_ns() + 20000000000ull));
    shl_fd->close(fd);
}

static void send_it(int fd, const void *data, size_t bytes)
{
    ASSERT_OK(shl_sock_send_all(fd, data, bytes, shl_now_ns() + 20000000000ull));
}

static void nonsense_disturbs_nobody(void **state)
{
    static struct store_user honest;
    static uint8_t frame[SHL_STORE_FRAME_MAX];
    struct shl_store_request request = {.id = 1, .swap = true, .bytes = "evil", .size = 4};
    struct shl_coordinator *coordinator = serve("127.0.0.1:0", NULL);
    const char *address = shl_coordinator_address(coordinator);
    (void)state;
    join(&honest, &patient, address);
    int silent = connect_to(address), stranger = connect_to(address);
    send_it(stranger,
            "GET / HTTP/1.1\r\nHost: nobody, at a place that does not exist\r\n"
            "Accept: everything that is there, please, at once\r\n\r\n",
            110);
    assert_dropped(stranger);
    assert_int_equal(authenticate(address, SHL_CHANNEL_SESSION, 200000000), -1);
    /* Members of the job may be wrong, too. */
    int fd = authenticate(address, SHL_CHANNEL_STORE, 20000000000ull);
    send_it(fd, "nonsense", 8);
    assert_dropped(fd);
    for (uint32_t kind = 0; kind < 256; kind += 51) {
        size_t bytes = shl_store_put_request(frame, &request);
        frame[SHL_STORE_HEADER_BYTES + 8] =
            (uint8_t)(kind == 51 ? 1 : kind); /* a read has no value */
        fd = authenticate(address, SHL_CHANNEL_STORE, 20000000000ull);
        send_it(fd, frame, bytes);
        assert_dropped(fd);
    }
    fd = authenticate(address, SHL_CHANNEL_STORE, 20000000000ull);
    send_it(fd, frame, 12); /* and no more */
    store_assert(store_user_read(&honest), SHL_STORE_OK, 0, "");
    store_user_close(&honest);
    shl_fd->close(silent);
    shl_fd->close(fd);
    shl_coordinator_stop(coordinator);
}

static void without_a_secret_only_loopback_is_served(void **state)
{
    struct shl_key open_key;
    struct shl_coordinator *coordinator;
    struct shl_coordinator_options options = {
        .config = &patient, .address = "0.0.0.0:0", .job = "job", .key = &open_key};
    (void)state;
    ASSERT_OK(shl_key_derive(NULL, 0, "job", &open_key));
    ASSERT_STATUS(SHOAL_ERR_CONFIG, shl_coordinator_serve(&options, &coordinator));
    ASSERT_DETAIL("the coordinator at 0.0.0.0:0");
    options.address = "127.0.0.1:0";
    ASSERT_OK(shl_coordinator_serve(&options, &coordinator));
    shl_coordinator_stop(coordinator);
}

/* ---- failures ------------------------------------------------------------------------------ */

struct sweep {
    struct store_user user;
};

static enum shoal_status use_once(void *arg)
{
    struct sweep *sweep = arg;
    struct shl_coordinator *coordinator;
    struct shl_coordinator_options options = {.config = &patient,
                                              .address = "127.0.0.1:0",
                                              .job = "job",
                                              .key = &key,
                                              .journal = journal};
    unlink(journal);
    SHL_TRY(shl_coordinator_serve(&options, &coordinator));
    struct shl_store_options user_options = {.config = &patient,
                                             .address = shl_coordinator_address(coordinator),
                                             .job = "job",
                                             .key = &key};
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

#define FRESH(test) cmocka_unit_test_setup(test, remove_journal)

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
        FRESH(a_wrong_secret_or_job_gets_nothing),
        FRESH(nonsense_disturbs_nobody),
        FRESH(without_a_secret_only_loopback_is_served),
        FRESH(whatever_fails_once_nothing_leaks_or_hangs),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
