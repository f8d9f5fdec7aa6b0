/*
 * Channels between the tcp transports of one process.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/tcp_net.h"

#include "support/test.h"
#include "transport/tcp/tcp_channel.h"
#include "transport/tcp/tcp_link.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define RANKS_MAX 64
#define FLOWS_MAX 16
#define KNOCK FLOWS_MAX /* the index that stands for a knock */
#define INDICES (FLOWS_MAX + 1)

struct request {
    shl_channel_fn ready;
    void *arg;
};

/* The accepting rank's side of one flow. */
struct slot {
    struct request waiting; /* ready NULL: none */
    int kept_fd;            /* -1: none */
};

struct tcp_net {
    pthread_mutex_t lock;
    uint32_t size, connections;
    tcp_net_connect_fn connect;
    void *arg;
    bool refused[RANKS_MAX];
    struct end {
        struct tcp_net *net;
        uint32_t rank;
    } ends[RANKS_MAX];
    struct slot slots[RANKS_MAX][RANKS_MAX][INDICES]; /* [dials][accepts][index] */
};

bool tcp_net_loopback(void *unused, int fds[2])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(at);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)unused;
    if (listener < 0)
        return false;
    if (bind(listener, (struct sockaddr *)&at, sizeof(at)) || listen(listener, 1) ||
        getsockname(listener, (struct sockaddr *)&at, &bytes)) {
        close(listener);
        return false;
    }
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fds[0], (struct sockaddr *)&at, sizeof(at))) {
        close(fds[0]);
        close(listener);
        return false;
    }
    fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    close(listener);
    return fds[1] >= 0;
}

/* The one that dials asks: connect, hand one end back and the other on. */
static void dial_out(struct tcp_net *net, uint32_t rank, uint32_t peer, uint32_t index,
                     struct request mine)
{
    struct slot *slot = &net->slots[rank][peer][index];
    struct request theirs = {NULL, NULL};
    int fds[2];
    pthread_mutex_lock(&net->lock);
    bool refused = net->refused[peer] || net->refused[rank];
    pthread_mutex_unlock(&net->lock);
    if (refused || !net->connect(net->arg, fds)) {
        mine.ready(mine.arg, peer, index, -1, "connection refused");
        return;
    }
    pthread_mutex_lock(&net->lock);
    net->connections++;
    theirs = slot->waiting;
    slot->waiting.ready = NULL;
    if (!theirs.ready) {
        if (slot->kept_fd >= 0)
            close(slot->kept_fd);
        slot->kept_fd = fds[1];
    }
    pthread_mutex_unlock(&net->lock);
    mine.ready(mine.arg, peer, index, fds[0], NULL);
    if (theirs.ready)
        theirs.ready(theirs.arg, rank, index, fds[1], NULL);
}

static void dial_in(struct tcp_net *net, uint32_t rank, uint32_t peer, uint32_t index,
                    struct request mine)
{
    struct slot *slot = &net->slots[peer][rank][index];
    pthread_mutex_lock(&net->lock);
    bool refused = net->refused[peer] || net->refused[rank];
    int fd = slot->kept_fd;
    slot->kept_fd = -1;
    if (fd < 0 && !refused)
        slot->waiting = mine;
    pthread_mutex_unlock(&net->lock);
    if (fd >= 0 || refused)
        mine.ready(mine.arg, peer, index, fd, fd < 0 ? "connection refused" : NULL);
}

static enum shoal_status dial(struct shl_control *control, uint32_t peer,
                              enum shl_channel_kind kind, uint32_t index, uint64_t deadline_ns,
                              shl_channel_fn ready, void *arg)
{
    struct end *end = (struct end *)control;
    struct request mine = {ready, arg};
    (void)deadline_ns;
    if (kind == SHL_CHANNEL_TCP_KNOCK)
        index += KNOCK;
    if ((end->rank < peer) == (kind == SHL_CHANNEL_TCP_DATA))
        dial_out(end->net, end->rank, peer, index, mine);
    else
        dial_in(end->net, end->rank, peer, index, mine);
    return SHOAL_OK;
}

static const char *host_id(struct shl_control *control)
{
    (void)control;
    return "one host";
}

struct tcp_net *tcp_net_create(uint32_t size, tcp_net_connect_fn connect_pair, void *arg)
{
    static const struct shl_tcp_channels channels = {dial, host_id};
    struct tcp_net *net = calloc(1, sizeof(*net));
    assert_non_null(net);
    assert_true(size <= RANKS_MAX);
    pthread_mutex_init(&net->lock, NULL);
    net->size = size;
    net->connect = connect_pair ? connect_pair : tcp_net_loopback;
    net->arg = arg;
    for (uint32_t i = 0; i < RANKS_MAX; i++) {
        net->ends[i] = (struct end){net, i};
        for (uint32_t j = 0; j < RANKS_MAX; j++)
            for (uint32_t k = 0; k < INDICES; k++)
                net->slots[i][j][k].kept_fd = -1;
    }
    shl_tcp_channels = &channels;
    return net;
}

/* Fail the requests that wait for, or come from, a rank; RANKS_MAX: all. */
static void fail_waiting(struct tcp_net *net, uint32_t rank, const char *cause)
{
    for (uint32_t i = 0; i < net->size; i++) {
        for (uint32_t j = 0; j < net->size; j++) {
            for (uint32_t k = 0; k < INDICES; k++) {
                struct slot *slot = &net->slots[i][j][k];
                if (rank != RANKS_MAX && i != rank && j != rank)
                    continue;
                pthread_mutex_lock(&net->lock);
                struct request waiting = slot->waiting;
                int fd = slot->kept_fd;
                slot->waiting.ready = NULL;
                slot->kept_fd = -1;
                pthread_mutex_unlock(&net->lock);
                if (fd >= 0)
                    close(fd);
                if (waiting.ready)
                    waiting.ready(waiting.arg, i, k, -1, cause);
            }
        }
    }
}

void tcp_net_destroy(struct tcp_net *net)
{
    fail_waiting(net, RANKS_MAX, "control stopped");
    pthread_mutex_destroy(&net->lock);
    free(net);
}

struct shl_control *tcp_net_control(struct tcp_net *net, uint32_t rank)
{
    return (struct shl_control *)&net->ends[rank];
}

void tcp_net_refuse(struct tcp_net *net, uint32_t rank)
{
    pthread_mutex_lock(&net->lock);
    net->refused[rank] = true;
    pthread_mutex_unlock(&net->lock);
    fail_waiting(net, rank, "the rank is dead");
}

uint32_t tcp_net_connections(struct tcp_net *net)
{
    pthread_mutex_lock(&net->lock);
    uint32_t connections = net->connections;
    pthread_mutex_unlock(&net->lock);
    return connections;
}

void tcp_net_config(struct shl_config *config, const char *const *settings)
{
    char *const nothing[] = {NULL};
    struct shl_config_options options = {.settings = settings, .environment = nothing};
    while (settings[options.setting_count])
        options.setting_count++;
    ASSERT_OK(shl_config_load(&options, config));
}

void tcp_net_cut(struct shl_transport *t, uint32_t size)
{
    for (uint32_t peer = 0; peer < size; peer++) {
        struct shl_tcp_link *link = t->peers[peer].link;
        for (uint32_t i = 0; link && i < link->flow_count; i++)
            if (link->flows[i].fd >= 0)
                shutdown(link->flows[i].fd, SHUT_RDWR);
    }
}
