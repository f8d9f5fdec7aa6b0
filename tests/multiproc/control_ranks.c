/*
 * Forking ranks and watching them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/control_ranks.h"

#include "core/sys.h"
#include "support/test.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MS 1000000ull
#define PATIENCE_NS (40000 * MS) /* of the test; far more than anything takes */

struct child {
    const struct ranks *ranks;
    struct rank_view *view;
    uint32_t rank;
    uint64_t sent;
};

/* ---- the child --------------------------------------------------------------------------- */

/* A payload that depends on origin and number, so that damage and mix-ups show. */
static void fill(uint8_t *payload, size_t bytes, uint32_t origin, uint64_t number)
{
    memcpy(payload, &number, sizeof(number));
    for (size_t i = sizeof(number); i < bytes; i++)
        payload[i] = (uint8_t)(origin * 31 + number * 7 + i);
}

static void burn(uint64_t ns)
{
    for (uint64_t end = shl_now_ns() + ns; shl_now_ns() < end;)
        ;
}

static void on_message(void *arg, uint32_t origin, uint16_t type, const void *payload, size_t bytes)
{
    struct child *child = arg;
    struct ranks_board *board = child->ranks->board;
    uint64_t self = 1ull << child->rank;
    uint8_t expected[SHL_CONTROL_PAYLOAD_MAX];
    uint64_t due = atomic_load(&child->view->received[origin]) + 1;
    fill(expected, bytes, origin, due);
    if (type != 7 || bytes < sizeof(due) || memcmp(expected, payload, bytes))
        atomic_fetch_add(&child->view->disorder, 1);
    if (atomic_fetch_and(&board->busy, ~self) & self)
        burn(atomic_load(&board->busy_ns));
    atomic_store(&child->view->received[origin], due);
}

static void on_lost(void *arg, uint32_t rank, enum shoal_status status, const char *cause)
{
    struct child *child = arg;
    if (status >= 0)
        atomic_fetch_add(&child->view->disorder, 1);
    snprintf(child->view->lost_cause[rank], sizeof(child->view->lost_cause[rank]), "%s", cause);
    atomic_store(&child->view->lost_ns[rank], shl_now_ns());
    atomic_fetch_add(&child->view->lost[rank], 1);
}

static void record(struct rank_view *view, _Atomic int *where, enum shoal_status status)
{
    snprintf(view->detail, sizeof(view->detail), "%s", status < 0 ? shl_error_text() : "");
    atomic_store(where, status == SHOAL_OK ? 1 : (int)status);
}

static void serve(struct child *child, struct shl_control *control)
{
    struct ranks_board *board = child->ranks->board;
    static uint8_t payload[SHL_CONTROL_PAYLOAD_MAX];
    while (!(atomic_load(&board->leave) >> child->rank & 1)) {
        if (child->sent >= atomic_load(&board->flood_to)) {
            shl_time->sleep_ns(MS);
            continue;
        }
        uint32_t bytes = atomic_load(&board->payload_bytes);
        fill(payload, bytes, child->rank, child->sent + 1);
        enum shoal_status status = shl_control_flood(control, 7, payload, bytes);
        if (status == SHOAL_OK)
            child->sent++;
        else
            shl_time->sleep_ns(MS); /* busy */
    }
}

static int run_child(const struct ranks *ranks, uint32_t rank)
{
    struct ranks_board *board = ranks->board;
    struct child child = {.ranks = ranks, .view = &board->view[rank], .rank = rank};
    struct shl_config config;
    char *const no_environment[] = {NULL};
    struct shl_config_options sources = {.environment = no_environment,
                                         .settings = ranks->settings};
    for (; ranks->settings && ranks->settings[sources.setting_count]; sources.setting_count++)
        ;
    if (shl_config_load(&sources, &config) < 0)
        return 2;
    const char *secret = ranks->strangers >> rank & 1 ? "the secret of another job" : ranks->secret;
    struct shl_control_options options = {.config = &config,
                                          .job = "test",
                                          .secret = (const uint8_t *)secret,
                                          .secret_bytes = secret ? strlen(secret) : 0,
                                          .rank = rank,
                                          .size = ranks->size,
                                          .arg = &child,
                                          .on_message = on_message,
                                          .on_lost = on_lost};
    struct shl_control *control;
    enum shoal_status status = shl_control_create(&options, &control);
    record(child.view, &child.view->created, status);
    if (status < 0)
        return 3;
    board->addresses[rank] = *shl_control_own_address(control);
    if (ranks->over_tcp)
        board->addresses[rank].unix_name[0] = '\0';
    atomic_fetch_add(&board->published, 1);
    while (!atomic_load(&board->may_start))
        shl_time->sleep_ns(MS);
    status =
        shl_control_start(control, board->addresses, 5, 99, shl_now_ns() + ranks->start_ms * MS);
    record(child.view, &child.view->started, status);
    if (status == SHOAL_OK)
        serve(&child, control);
    shl_control_destroy(control);
    shl_config_free(&config);
    atomic_store(&child.view->stopped, 1);
    return 0;
}

/* ---- the parent -------------------------------------------------------------------------- */

void ranks_launch(struct ranks *ranks)
{
    ranks->board = mmap(NULL, sizeof(*ranks->board), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(ranks->board != MAP_FAILED);
    if (!ranks->start_ms)
        ranks->start_ms = 20000;
    pid_t parent = getpid();
    for (uint32_t rank = 0; rank < ranks->size; rank++) {
        ranks->pids[rank] = fork();
        assert_true(ranks->pids[rank] >= 0);
        if (ranks->pids[rank])
            continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(getppid() == parent ? run_child(ranks, rank) : 9);
    }
    uint64_t deadline = shl_now_ns() + PATIENCE_NS;
    while (atomic_load(&ranks->board->published) < ranks->size) {
        for (uint32_t rank = 0; rank < ranks->size; rank++)
            if (atomic_load(&ranks->board->view[rank].created) < 0)
                fail_msg("rank %u: %s", rank, ranks->board->view[rank].detail);
        assert_true(shl_now_ns() < deadline);
        shl_time->sleep_ns(MS);
    }
}

void ranks_start(struct ranks *ranks)
{
    atomic_store(&ranks->board->may_start, 1);
}

int ranks_await_outcome(struct ranks *ranks, uint32_t rank)
{
    uint64_t deadline = shl_now_ns() + PATIENCE_NS;
    while (!atomic_load(&ranks->board->view[rank].started)) {
        if (shl_now_ns() > deadline)
            fail_msg("rank %u neither started nor failed to", rank);
        shl_time->sleep_ns(MS);
    }
    return atomic_load(&ranks->board->view[rank].started);
}

void ranks_await_started(struct ranks *ranks)
{
    for (uint32_t rank = 0; rank < ranks->size; rank++)
        if (ranks_await_outcome(ranks, rank) != 1)
            fail_msg("rank %u did not start: %s", rank, ranks->board->view[rank].detail);
}

void ranks_leave(struct ranks *ranks, uint64_t who)
{
    uint64_t deadline = shl_now_ns() + PATIENCE_NS;
    atomic_fetch_or(&ranks->board->leave, who);
    for (uint32_t rank = 0; rank < ranks->size; rank++) {
        while ((who >> rank & 1) && !atomic_load(&ranks->board->view[rank].stopped)) {
            if (shl_now_ns() > deadline)
                fail_msg("rank %u does not end", rank);
            shl_time->sleep_ns(MS);
        }
    }
}

void ranks_flood(struct ranks *ranks, uint64_t to, uint32_t payload_bytes)
{
    atomic_store(&ranks->board->payload_bytes, payload_bytes);
    atomic_store(&ranks->board->flood_to, to);
}

void ranks_await_floods(struct ranks *ranks, uint64_t alive, uint64_t from, uint64_t count)
{
    uint64_t deadline = shl_now_ns() + PATIENCE_NS;
    for (uint32_t rank = 0; rank < ranks->size; rank++) {
        struct rank_view *view = &ranks->board->view[rank];
        for (uint32_t origin = 0; origin < ranks->size && (alive >> rank & 1); origin++) {
            while ((from >> origin & 1) && atomic_load(&view->received[origin]) < count) {
                if (shl_now_ns() > deadline)
                    fail_msg("rank %u got %llu of %llu messages of rank %u", rank,
                             (unsigned long long)view->received[origin], (unsigned long long)count,
                             origin);
                shl_time->sleep_ns(MS);
            }
        }
        assert_int_equal(atomic_load(&view->disorder), 0);
    }
}

uint64_t ranks_await_lost(struct ranks *ranks, uint64_t alive, uint32_t rank, uint64_t since_ns)
{
    uint64_t deadline = shl_now_ns() + PATIENCE_NS, last = since_ns;
    for (uint32_t observer = 0; observer < ranks->size; observer++) {
        struct rank_view *view = &ranks->board->view[observer];
        if (!(alive >> observer & 1))
            continue;
        while (!atomic_load(&view->lost[rank])) {
            if (shl_now_ns() > deadline)
                fail_msg("rank %u never heard that rank %u is lost", observer, rank);
            shl_time->sleep_ns(MS);
        }
        if (atomic_load(&view->lost_ns[rank]) > last)
            last = atomic_load(&view->lost_ns[rank]);
    }
    return last - since_ns;
}

void ranks_kill(struct ranks *ranks, uint32_t rank, int signal)
{
    assert_int_equal(kill(ranks->pids[rank], signal), 0);
}

void ranks_finish(struct ranks *ranks, uint64_t expected)
{
    atomic_store(&ranks->board->leave, UINT64_MAX);
    ranks_start(ranks);
    for (uint32_t rank = 0; rank < ranks->size; rank++) {
        int status;
        if (!(expected >> rank & 1))
            kill(ranks->pids[rank], SIGKILL);
        assert_int_equal(waitpid(ranks->pids[rank], &status, 0), ranks->pids[rank]);
        if ((expected >> rank & 1) && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
            fail_msg("rank %u ended with wait status %x: %s", rank, (unsigned)status,
                     ranks->board->view[rank].detail);
    }
    munmap(ranks->board, sizeof(*ranks->board));
    ranks->board = NULL;
}
