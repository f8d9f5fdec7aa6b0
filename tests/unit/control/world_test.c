/*
 * Whole control objects in one process: channels, stopping, and every failure of the kernel once.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/control.h"
#include "control/sock.h"
#include "core/log.h"
#include "core/sys.h"
#include "support/config.h"
#include "support/fault.h"
#include "support/leaks.h"
#include "support/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define MS 1000000ull
#define RANKS 3

static struct shl_config config;

/* What `ready` was told about one channel. */
struct answer {
    _Atomic int calls;
    int fd;
    uint32_t peer, index;
    char cause[512];
};

struct world {
    struct shl_control *controls[RANKS];
    struct shl_control_address addresses[RANKS];
    enum shoal_status started[RANKS];
    char detail[RANKS][512];
    uint32_t size;
    uint64_t start_ms;
    _Atomic uint32_t messages, lost;
};

static void on_message(void *arg, uint32_t origin, uint16_t type, const void *payload, size_t bytes)
{
    struct world *world = arg;
    (void)origin;
    (void)type;
    (void)payload;
    (void)bytes;
    atomic_fetch_add(&world->messages, 1);
}

static void on_lost(void *arg, uint32_t rank, enum shoal_status status, const char *cause)
{
    struct world *world = arg;
    (void)rank;
    (void)status;
    (void)cause;
    atomic_fetch_add(&world->lost, 1);
}

static void on_ready(void *arg, uint32_t peer, uint32_t index, int fd, const char *cause)
{
    struct answer *answer = arg;
    answer->fd = fd;
    answer->peer = peer;
    answer->index = index;
    snprintf(answer->cause, sizeof(answer->cause), "%s", cause ? cause : "");
    atomic_fetch_add(&answer->calls, 1);
}

static bool is_answered(void *arg)
{
    return atomic_load(&((struct answer *)arg)->calls) > 0;
}

static enum shoal_status create(struct world *world, uint32_t size)
{
    memset(world, 0, sizeof(*world));
    world->size = size;
    world->start_ms = 30000;
    for (uint32_t rank = 0; rank < size; rank++) {
        struct shl_control_options options = {.config = &config,
                                              .job = "job",
                                              .rank = rank,
                                              .size = size,
                                              .arg = world,
                                              .on_message = on_message,
                                              .on_lost = on_lost};
        SHL_TRY(shl_control_create(&options, &world->controls[rank]));
        world->addresses[rank] = *shl_control_own_address(world->controls[rank]);
    }
    return SHOAL_OK;
}

struct starter {
    struct world *world;
    uint32_t rank;
};

static void *start_one(void *arg)
{
    struct starter *starter = arg;
    struct world *world = starter->world;
    world->started[starter->rank] =
        shl_control_start(world->controls[starter->rank], world->addresses, 3, 8,
                          shl_now_ns() + world->start_ms * MS);
    snprintf(world->detail[starter->rank], sizeof(world->detail[0]), "%s", shl_error_text());
    if (world->started[starter->rank] < 0) {
        /* As its process would do: then the others need not wait for it. */
        shl_control_destroy(world->controls[starter->rank]);
        world->controls[starter->rank] = NULL;
    }
    return NULL;
}

static enum shoal_status start(struct world *world)
{
    pthread_t threads[RANKS];
    struct starter starters[RANKS];
    for (uint32_t rank = 0; rank < world->size; rank++) {
        starters[rank] = (struct starter){world, rank};
        assert_int_equal(pthread_create(&threads[rank], NULL, start_one, &starters[rank]), 0);
    }
    for (uint32_t rank = 0; rank < world->size; rank++)
        pthread_join(threads[rank], NULL);
    for (uint32_t rank = 0; rank < world->size; rank++)
        if (world->started[rank] < 0)
            return shl_fail(world->started[rank], "%s", world->detail[rank]);
    return SHOAL_OK;
}

static void destroy(struct world *world)
{
    for (uint32_t rank = 0; rank < world->size; rank++)
        shl_control_destroy(world->controls[rank]);
}

static void form(struct world *world, uint32_t size)
{
    ASSERT_OK(create(world, size));
    ASSERT_OK(start(world));
}

static void ask(struct world *world, uint32_t rank, uint32_t peer, enum shl_channel_kind kind,
                uint32_t index, struct answer *answer)
{
    memset(answer, 0, sizeof(*answer));
    ASSERT_OK(shl_control_dial(world->controls[rank], peer, kind, index, shl_now_ns() + 30000 * MS,
                               on_ready, answer));
}

static void await(struct answer *answer)
{
    assert_true(shl_test_wait_for(is_answered, answer, 40000));
    assert_int_equal(atomic_load(&answer->calls), 1);
}

/* Two ends of one channel, whatever is sent arrives; closes both. */
static void assert_joined(struct answer *low, struct answer *high)
{
    char got[6] = "";
    if (low->fd < 0 || high->fd < 0)
        fail_msg("no channel: %s%s", low->cause, high->cause);
    assert_true(fcntl(low->fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(high->fd, F_GETFD) & FD_CLOEXEC);
    ASSERT_OK(shl_sock_send_all(low->fd, "hello", 6, shl_now_ns() + 10000 * MS));
    ASSERT_OK(shl_sock_recv_all(high->fd, got, 6, shl_now_ns() + 10000 * MS));
    assert_string_equal(got, "hello");
    ASSERT_OK(shl_sock_send_all(high->fd, "world", 6, shl_now_ns() + 10000 * MS));
    ASSERT_OK(shl_sock_recv_all(low->fd, got, 6, shl_now_ns() + 10000 * MS));
    assert_string_equal(got, "world");
    shl_fd->close(low->fd);
    shl_fd->close(high->fd);
}

/* ---- channels ---------------------------------------------------------------------------- */

static void both_sides_get_their_end(void **state)
{
    static const enum shl_channel_kind kinds[] = {SHL_CHANNEL_TCP_DATA, SHL_CHANNEL_FD_PASS};
    struct world world;
    struct answer low[4], high[4];
    (void)state;
    form(&world, 2);
    for (size_t k = 0; k < 2; k++) {
        /* Several at once; who asks first does not matter. */
        for (uint32_t i = 0; i < 4; i++) {
            if (i % 2) {
                ask(&world, 0, 1, kinds[k], i, &low[i]);
                await(&low[i]); /* then the other end is parked */
                ask(&world, 1, 0, kinds[k], i, &high[i]);
            } else {
                ask(&world, 1, 0, kinds[k], i, &high[i]);
                ask(&world, 0, 1, kinds[k], i, &low[i]);
            }
        }
        for (uint32_t i = 0; i < 4; i++) {
            await(&low[i]);
            await(&high[i]);
            assert_int_equal(low[i].peer, 1);
            assert_int_equal(high[i].peer, 0);
            assert_int_equal(high[i].index, i);
            assert_joined(&low[i], &high[i]);
        }
    }
    destroy(&world);
}

static void a_broken_channel_can_be_asked_for_again(void **state)
{
    struct world world;
    struct answer low, again, high;
    (void)state;
    form(&world, 2);
    ask(&world, 0, 1, SHL_CHANNEL_TCP_DATA, 7, &low);
    await(&low);
    shl_fd->close(low.fd); /* breaks before the other side asked */
    ask(&world, 0, 1, SHL_CHANNEL_TCP_DATA, 7, &again);
    await(&again);
    ask(&world, 1, 0, SHL_CHANNEL_TCP_DATA, 7, &high);
    await(&high);
    assert_joined(&again, &high); /* the newer one was kept */
    destroy(&world);
}

static void descriptors_travel_over_a_local_channel(void **state)
{
    struct world world;
    struct answer low, high;
    int pipe_ends[2], got[1];
    uint32_t count;
    size_t bytes;
    char text[4];
    (void)state;
    form(&world, 2);
    ask(&world, 0, 1, SHL_CHANNEL_FD_PASS, 0, &low);
    ask(&world, 1, 0, SHL_CHANNEL_FD_PASS, 0, &high);
    await(&low);
    await(&high);
    assert_int_equal(pipe2(pipe_ends, O_CLOEXEC), 0);
    ASSERT_OK(shl_control_send_fds(low.fd, &pipe_ends[1], 1, "out", 4, shl_now_ns() + 10000 * MS));
    ASSERT_OK(shl_control_recv_fds(high.fd, got, 1, &count, text, sizeof(text), &bytes,
                                   shl_now_ns() + 10000 * MS));
    assert_string_equal(text, "out");
    assert_int_equal(write(got[0], "x", 1), 1);
    assert_int_equal(read(pipe_ends[0], text, 1), 1);
    shl_fd->close(got[0]);
    shl_fd->close(pipe_ends[0]);
    shl_fd->close(pipe_ends[1]);
    shl_fd->close(low.fd);
    shl_fd->close(high.fd);
    destroy(&world);
}

static void a_channel_nobody_opens_ends_at_its_deadline(void **state)
{
    struct world world;
    struct answer answer;
    (void)state;
    form(&world, 2);
    memset(&answer, 0, sizeof(answer));
    ASSERT_OK(shl_control_dial(world.controls[1], 0, SHL_CHANNEL_TCP_DATA, 0,
                               shl_now_ns() + 30 * MS, on_ready, &answer));
    await(&answer);
    assert_int_equal(answer.fd, -1);
    assert_non_null(strstr(answer.cause, "rank 0 did not open the channel in time"));
    destroy(&world);
}

static void another_host_cannot_pass_descriptors(void **state)
{
    struct world world;
    struct answer answer;
    (void)state;
    ASSERT_OK(create(&world, 2));
    /* Reachable, but with another Unix socket namespace as it were. */
    world.addresses[0].unix_name[0] = world.addresses[1].unix_name[0] = '\0';
    ASSERT_OK(start(&world));
    ask(&world, 0, 1, SHL_CHANNEL_FD_PASS, 0, &answer);
    await(&answer);
    assert_int_equal(answer.fd, -1);
    assert_non_null(strstr(answer.cause, "another host"));
    destroy(&world);
}

static void the_leaving_fail_what_waits(void **state)
{
    struct world world;
    struct answer mine, theirs;
    (void)state;
    form(&world, 2);
    ask(&world, 1, 0, SHL_CHANNEL_TCP_DATA, 0, &mine);
    shl_control_stop(world.controls[1]);
    assert_int_equal(atomic_load(&mine.calls), 1); /* before stop returned */
    assert_int_equal(mine.fd, -1);
    assert_non_null(strstr(mine.cause, "leaving"));
    /* Afterwards nothing is accepted, and nobody is called. */
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_control_dial(world.controls[1], 0, SHL_CHANNEL_TCP_DATA, 1,
                                                      shl_now_ns() + MS, on_ready, &mine));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_control_flood(world.controls[1], 1, "x", 1));
    memset(&theirs, 0, sizeof(theirs));
    ASSERT_OK(shl_control_dial(world.controls[0], 1, SHL_CHANNEL_TCP_DATA, 0,
                               shl_now_ns() + 100 * MS, on_ready, &theirs));
    await(&theirs);
    assert_int_equal(theirs.fd, -1);
    assert_int_equal(atomic_load(&world.lost), 0);
    destroy(&world);
}

static void wrong_calls_are_refused(void **state)
{
    struct world world;
    struct answer answer;
    static char payload[SHL_CONTROL_PAYLOAD_MAX + 1];
    uint64_t soon = shl_now_ns() + MS;
    (void)state;
    ASSERT_OK(create(&world, 2));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_control_flood(world.controls[0], 1, "x", 1));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_control_dial(world.controls[0], 1, SHL_CHANNEL_TCP_DATA, 0,
                                                      soon, on_ready, &answer));
    ASSERT_OK(start(&world));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_control_dial(world.controls[0], 0, SHL_CHANNEL_TCP_DATA, 0,
                                                      soon, on_ready, &answer));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_control_dial(world.controls[0], 2, SHL_CHANNEL_TCP_DATA, 0,
                                                      soon, on_ready, &answer));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_control_dial(world.controls[0], 1, SHL_CHANNEL_SESSION, 0,
                                                      soon, on_ready, &answer));
    ASSERT_STATUS(SHOAL_ERR_INVALID,
                  shl_control_flood(world.controls[0], 1, payload, sizeof(payload)));
    ASSERT_STATUS(SHOAL_ERR_INVALID,
                  shl_control_start(world.controls[0], world.addresses, 3, 8, soon));
    destroy(&world);
    shl_control_destroy(NULL);
    struct shl_control_options options = {.config = &config, .job = "job", .rank = 2, .size = 2};
    struct shl_control *control;
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_control_create(&options, &control));
}

/* ---- addresses --------------------------------------------------------------------------- */

static void assert_address_fails(struct shl_config changed, const char *secret, const char *part)
{
    struct shl_control_options options = {.config = &changed,
                                          .job = "job",
                                          .secret = (const uint8_t *)secret,
                                          .secret_bytes = secret ? strlen(secret) : 0,
                                          .size = 1};
    struct shl_control *control;
    ASSERT_STATUS(SHOAL_ERR_CONFIG, shl_control_create(&options, &control));
    ASSERT_DETAIL(part);
}

static void what_is_published_follows_the_settings(void **state)
{
    struct shl_config changed = config;
    struct shl_control_options options = {.config = &changed,
                                          .job = "job",
                                          .secret = (const uint8_t *)"0123456789abcdef",
                                          .secret_bytes = 16,
                                          .size = 1};
    struct shl_control *control;
    (void)state;
    changed.address = "trainer-0.trainer.svc:4321";
    ASSERT_OK(shl_control_create(&options, &control));
    assert_string_equal(shl_control_own_address(control)->text[0], "trainer-0.trainer.svc:4321");
    shl_control_destroy(control);
    changed.address = "[fd00::77]";
    ASSERT_OK(shl_control_create(&options, &control));
    assert_memory_equal(shl_control_own_address(control)->text[0], "[fd00::77]:", 11);
    shl_control_destroy(control);
    changed.address = "";
    changed.interface = "=lo";
    ASSERT_OK(shl_control_create(&options, &control));
    assert_memory_equal(shl_control_own_address(control)->text[0], "127.0.0.1:", 10);
    shl_control_destroy(control);
    changed.interface = "=no-such";
    assert_address_fails(changed, "0123456789abcdef", "SHOAL_INTERFACE=\"=no-such\"");
    changed.interface = "";
    changed.address = "10.9.8.7";
    assert_address_fails(changed, NULL, "SHOAL_SECRET_FILE");
}

static void a_host_without_a_way_is_explained(void **state)
{
    struct world world;
    (void)state;
    ASSERT_OK(create(&world, 2));
    snprintf(world.addresses[1].host_id, sizeof(world.addresses[1].host_id), "another host");
    world.start_ms = 300;
    ASSERT_STATUS(SHOAL_ERR_CONFIG, start(&world));
    assert_non_null(strstr(world.detail[0], "rank 1 is on another host"));
    assert_non_null(strstr(world.detail[0], "SHOAL_SECRET_FILE"));
    destroy(&world);
}

/* ---- failures of the kernel -------------------------------------------------------------- */

static bool has_all_messages(void *arg)
{
    struct world *world = arg;
    return atomic_load(&world->messages) >= world->size || atomic_load(&world->lost);
}

static enum shoal_status live_and_die(void *arg)
{
    struct world world;
    (void)arg;
    enum shoal_status status = create(&world, 2);
    world.start_ms = 1500;
    if (status == SHOAL_OK)
        status = start(&world);
    if (status == SHOAL_OK)
        status = shl_control_flood(world.controls[1], 1, "payload", 7);
    if (status == SHOAL_OK && !shl_test_wait_for(has_all_messages, &world, 20000))
        status = shl_fail(SHOAL_ERR_INTERNAL, "a flood got lost");
    destroy(&world);
    assert_true(status != SHOAL_ERR_INTERNAL || !"a flood got lost");
    return status;
}

static void whatever_fails_once_nothing_leaks_or_hangs(void **state)
{
    (void)state;
    assert_true(shl_fault_sweep(SHL_FAULT_ALL, live_and_die, NULL, 1000) > 80);
}

static int set_up(void **state)
{
    (void)state;
    shl_log_configure(SHL_LOG_OFF, NULL);
    shl_test_config(&config, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    shl_config_free(&config);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_sides_get_their_end),
        cmocka_unit_test(a_broken_channel_can_be_asked_for_again),
        cmocka_unit_test(descriptors_travel_over_a_local_channel),
        cmocka_unit_test(a_channel_nobody_opens_ends_at_its_deadline),
        cmocka_unit_test(another_host_cannot_pass_descriptors),
        cmocka_unit_test(the_leaving_fail_what_waits),
        cmocka_unit_test(wrong_calls_are_refused),
        cmocka_unit_test(what_is_published_follows_the_settings),
        cmocka_unit_test(a_host_without_a_way_is_explained),
        cmocka_unit_test(whatever_fails_once_nothing_leaks_or_hangs),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
