/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit/control/listener_scene.h"

#include "control/control.h"
#include "core/sys.h"
#include "support/clock.h"
#include "support/test.h"

#include <errno.h>
#include <stdio.h>

struct shl_key scene_key;

static enum shl_welcome admit(void *arg, const struct shl_hello *hello, bool local)
{
    struct scene *scene = arg;
    scene->hello = *hello;
    scene->local = local;
    return scene->verdict;
}

static void accepted(void *arg, int fd, const struct shl_hello *hello, bool local)
{
    struct scene *scene = arg;
    (void)hello;
    (void)local;
    if (scene->accepted_fd >= 0)
        shl_fd->close(scene->accepted_fd);
    scene->accepted_fd = fd;
    scene->accepted++;
}

static void on_dialled(void *arg, const struct shl_dial_result *result)
{
    struct scene *scene = arg;
    scene->done = true;
    scene->result = *result;
    snprintf(scene->cause, sizeof(scene->cause), "%s", result->cause);
}

enum shoal_status scene_open(struct scene *scene, const char *address)
{
    struct shl_hello expect = {.rank = 2, .job = {4}};
    struct shl_sockaddr addr;
    memset(scene, 0, sizeof(*scene));
    scene->accepted_fd = -1;
    scene->verdict = SHL_WELCOME_OK;
    SHL_TRY(shl_loop_init(&scene->loop));
    shl_listener_init(&scene->listener, &scene->loop, &scene_key, &expect);
    scene->listener.arg = scene;
    scene->listener.admit = admit;
    scene->listener.accepted = accepted;
    enum shoal_status status;
    if (address[0] == '@')
        status = shl_sockaddr_unix(address + 1, &addr);
    else
        status = shl_sockaddr_parse(address, 0, &addr) ? SHOAL_OK : SHOAL_ERR_INVALID;
    if (status == SHOAL_OK)
        status = shl_listener_add(&scene->listener, &addr, &scene->address);
    if (status == SHOAL_OK)
        status = shl_listener_start(&scene->listener);
    if (status < 0) {
        shl_listener_fini(&scene->listener);
        shl_loop_fini(&scene->loop);
        return status;
    }
    shl_dialler_init(&scene->dialler, &scene->loop);
    scene->target.addresses[0] = scene->address;
    scene->target.count = 1;
    scene->dialler.key = &scene_key;
    scene->dialler.hello =
        (struct shl_hello){.kind = SHL_CHANNEL_SESSION, .rank = 1, .target_rank = 2, .job = {4}};
    scene->dialler.target = &scene->target;
    scene->dialler.deadline_ns = UINT64_MAX;
    scene->dialler.arg = scene;
    scene->dialler.done = on_dialled;
    return SHOAL_OK;
}

void scene_close(struct scene *scene)
{
    shl_dialler_stop(&scene->dialler);
    if (scene->done && scene->result.outcome == SHL_DIAL_CONNECTED && scene->result.fd >= 0)
        shl_fd->close(scene->result.fd);
    if (scene->accepted_fd >= 0)
        shl_fd->close(scene->accepted_fd);
    shl_listener_fini(&scene->listener);
    shl_loop_fini(&scene->loop);
}

void scene_settle(struct scene *scene)
{
    for (int i = 0; i < 20; i++) {
        shl_loop_turn(&scene->loop, shl_now_ns());
        shl_time_kernel.sleep_ns(MS / 10);
    }
}

void scene_dial(struct scene *scene)
{
    scene->done = false;
    shl_dialler_start(&scene->dialler);
    for (int i = 0; i < 20000 && !scene->done; i++) {
        shl_loop_turn(&scene->loop, shl_now_ns());
        shl_test_clock_advance(MS); /* back-offs pass */
        shl_time_kernel.sleep_ns(MS / 50);
    }
    if (!scene->done)
        fail_msg("the dialler never ended: %s", scene->dialler.cause);
}

int scene_connect_stranger(const struct scene *scene)
{
    int fd = socket(scene->address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (connect(fd, &scene->address.any, scene->address.bytes))
        assert_int_equal(errno, EINPROGRESS);
    return fd;
}

bool scene_dropped_silently(int fd)
{
    char byte;
    ssize_t got = recv(fd, &byte, 1, MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno == ECONNRESET);
}

void scene_assert_works(struct scene *scene)
{
    uint32_t before = scene->accepted;
    scene_dial(scene);
    if (scene->result.outcome != SHL_DIAL_CONNECTED)
        fail_msg("an honest rank was kept out: %s", scene->cause);
    scene_settle(scene);
    assert_int_equal(scene->accepted, before + 1);
    shl_fd->close(scene->result.fd);
    scene->done = false;
}
