/*
 * A peer process that is killed or stopped while the tcp transport moves a message.
 *
 * Killed: the survivor is told within the time that SHOAL_DEAD_AFTER_MS allows, with the cause.
 * Stopped and continued: nothing is lost, however long it took; to call a stopped rank dead is the
 * heartbeat's business.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "support/tcp_net.h"
#include "support/test.h"
#include "transport/tcp/tcp_channel.h"
#include "transport/transport.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGE_BYTES ((size_t)32 << 20)
#define SECOND_NS UINT64_C(1000000000)

static int pair[2]; /* the only connection there will be */
static unsigned lost_calls;
static enum shoal_status lost_status;
static char lost_cause[256];

static enum shoal_status dial(struct shl_control *control, uint32_t peer,
                              enum shl_channel_kind kind, uint32_t index, uint64_t deadline_ns,
                              shl_channel_fn ready, void *arg)
{
    int *fd = (int *)control;
    (void)deadline_ns;
    if (kind != SHL_CHANNEL_TCP_DATA)
        return SHOAL_OK;
    int given = *fd;
    *fd = -1;
    ready(arg, peer, index, given, given < 0 ? "connection refused" : NULL);
    return SHOAL_OK;
}

static const char *host_id(struct shl_control *control)
{
    (void)control;
    return "";
}

static const struct shl_tcp_channels channels = {dial, host_id};

static bool wanted(void *arg, const struct shl_tag *tag)
{
    (void)arg, (void)tag;
    return true;
}

static void seen(void *arg, uint32_t peer, const struct shl_tag *tag,
                 const struct shl_signature *signature)
{
    (void)arg, (void)peer, (void)tag, (void)signature;
}

static void lost(void *arg, uint32_t peer, enum shoal_status status, const char *cause)
{
    (void)arg, (void)peer;
    lost_calls++;
    lost_status = status;
    snprintf(lost_cause, sizeof(lost_cause), "%s", cause);
}

static void done(struct shl_xfer *xfer)
{
    (void)xfer;
}

struct end {
    struct shl_config config;
    struct shl_transport_env env;
    struct shl_transport *t;
    int fd;
    struct shl_xfer xfer;
};

static void end_open(struct end *end, uint32_t rank)
{
    static const char *const settings[] = {"SHOAL_DEAD_AFTER_MS=500", "SHOAL_LOG_LEVEL=error",
                                           NULL};
    shl_tcp_channels = &channels;
    tcp_net_config(&end->config, settings);
    end->fd = pair[rank];
    close(pair[1 - rank]);
    end->env = (struct shl_transport_env){.config = &end->config,
                                          .rank = rank,
                                          .size = 2,
                                          .epoch = 1,
                                          .control = (struct shl_control *)&end->fd,
                                          .wanted = wanted,
                                          .seen = seen,
                                          .lost = lost};
    ASSERT_OK(shl_transport_tcp.open(&end->env, &end->t));
}

static void end_post(struct end *end, bool sends)
{
    uint8_t *data = malloc(MESSAGE_BYTES);
    assert_non_null(data);
    memset(data, sends ? 0x5a : 0, MESSAGE_BYTES);
    end->xfer = (struct shl_xfer){.peer = 1 - end->env.rank,
                                  .tag = {.seq = 1},
                                  .data = data,
                                  .bytes = MESSAGE_BYTES,
                                  .elem_bytes = 4,
                                  .done = done};
    if (sends)
        ASSERT_OK(shl_transport_tcp.send(end->t, &end->xfer));
    else
        ASSERT_OK(shl_transport_tcp.recv(end->t, &end->xfer));
}

static void end_close(struct end *end)
{
    shl_transport_tcp.close(end->t);
    free(end->xfer.data);
    shl_config_free(&end->config);
    if (end->fd >= 0)
        close(end->fd);
}

/* The child: rank 1. It posts its end, and polls until it is done and its peer hangs up. */
static void run_child(bool sends)
{
    struct end end = {0};
    end_open(&end, 1);
    end_post(&end, sends);
    while (lost_calls == 0 && end.xfer.status == SHOAL_IN_PROGRESS)
        shl_transport_tcp.poll(end.t);
    bool whole = end.xfer.status == SHOAL_OK;
    const uint8_t *data = end.xfer.data;
    for (size_t i = 0; i < MESSAGE_BYTES; i++)
        whole = whole && data[i] == 0x5a;
    end_close(&end);
    _exit(whole ? 0 : 1);
}

static pid_t start(struct end *end, bool child_sends)
{
    assert_true(tcp_net_loopback(NULL, pair));
    lost_calls = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        run_child(child_sends);
    memset(end, 0, sizeof(*end));
    end_open(end, 0);
    end_post(end, !child_sends);
    while (end->xfer.moved_bytes == 0)
        shl_transport_tcp.poll(end->t);
    return child;
}

static void killed(void **unused)
{
    (void)unused;
    for (int child_sends = 0; child_sends < 2; child_sends++) {
        struct end end;
        pid_t child = start(&end, child_sends);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        uint64_t start_ns = shl_now_ns();
        while (lost_calls == 0 && end.xfer.status == SHOAL_IN_PROGRESS &&
               shl_now_ns() - start_ns < 30 * SECOND_NS)
            shl_transport_tcp.poll(end.t);
        if (end.xfer.status == SHOAL_IN_PROGRESS) {
            assert_int_equal(lost_calls, 1);
            assert_int_equal(lost_status, SHOAL_ERR_PEER);
            assert_non_null(strstr(lost_cause, "rank 1"));
        }
        end_close(&end);
    }
}

static void stopped_and_continued(void **unused)
{
    (void)unused;
    for (int child_sends = 0; child_sends < 2; child_sends++) {
        struct end end;
        int status;
        pid_t child = start(&end, child_sends);
        kill(child, SIGSTOP);
        uint64_t start_ns = shl_now_ns();
        while (shl_now_ns() - start_ns < 2 * SECOND_NS) /* beyond SHOAL_DEAD_AFTER_MS */
            shl_transport_tcp.poll(end.t);
        assert_int_equal(lost_calls, 0);
        kill(child, SIGCONT);
        while (end.xfer.status == SHOAL_IN_PROGRESS && lost_calls == 0)
            shl_transport_tcp.poll(end.t);
        assert_int_equal(end.xfer.status, SHOAL_OK);
        while (waitpid(child, &status, WNOHANG) == 0)
            shl_transport_tcp.poll(end.t);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        const uint8_t *data = end.xfer.data;
        assert_int_equal(data[0] + data[MESSAGE_BYTES - 1], 2 * 0x5a);
        end_close(&end);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed),
        cmocka_unit_test(stopped_and_continued),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
