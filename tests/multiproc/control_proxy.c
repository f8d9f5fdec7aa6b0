/*
 * The cutting proxy: a poll loop over listeners and pairs of sockets.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/control_proxy.h"

#include "control/sock.h"
#include "core/sys.h"
#include "support/random.h"
#include "support/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define TARGETS_MAX 64
#define LINKS_MAX 256
#define PIECE_MAX 5000

/* One connection through the proxy; ends[0] came to us, ends[1] we made. */
struct link {
    int ends[2];   /* -1: free */
    uint64_t left; /* bytes until it is cut; UINT64_MAX: never */
};

struct proxy {
    struct {
        int listener;
        struct shl_sockaddr to;
    } targets[TARGETS_MAX];
    uint32_t target_count;
    struct link links[LINKS_MAX];
    uint64_t random;
    _Atomic uint32_t life_max;
    _Atomic uint64_t cuts, cuts_max;
    _Atomic bool stop;
    bool started;
    pthread_t thread;
};

struct proxy *proxy_create(uint64_t seed)
{
    struct proxy *proxy = calloc(1, sizeof(*proxy));
    assert_non_null(proxy);
    proxy->random = seed;
    for (int i = 0; i < LINKS_MAX; i++)
        proxy->links[i].ends[0] = proxy->links[i].ends[1] = -1;
    return proxy;
}

void proxy_insert(struct proxy *proxy, char *address, size_t capacity)
{
    char host[64];
    uint16_t port;
    struct shl_sockaddr own, bound;
    uint32_t at = proxy->target_count++;
    assert_true(at < TARGETS_MAX);
    ASSERT_OK(shl_sock_split(address, -1, host, sizeof(host), &port));
    assert_true(shl_sockaddr_parse(host, port, &proxy->targets[at].to));
    assert_true(shl_sockaddr_parse("127.0.0.1", 0, &own));
    ASSERT_OK(shl_sock_listen(&own, 100, &proxy->targets[at].listener, &bound));
    shl_sockaddr_format(&bound, address, capacity);
}

static uint64_t draw(struct proxy *proxy, uint64_t below)
{
    return shl_test_random(&proxy->random) % below;
}

static void cut(struct proxy *proxy, struct link *link)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    for (int i = 0; i < 2; i++) {
        if (draw(proxy, 2)) /* some see an end of file, some a reset */
            (void)setsockopt(link->ends[i], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        shl_fd->close(link->ends[i]);
        link->ends[i] = -1;
    }
    atomic_fetch_add(&proxy->cuts, 1);
}

static void open_link(struct proxy *proxy, uint32_t target)
{
    struct link *link = NULL;
    int fd = accept4(proxy->targets[target].listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    for (int i = 0; i < LINKS_MAX && !link; i++)
        if (proxy->links[i].ends[0] < 0)
            link = &proxy->links[i];
    if (fd < 0)
        return;
    int other;
    if (!link || shl_sock_connect(&proxy->targets[target].to, &other) < 0) {
        shl_fd->close(fd);
        return;
    }
    link->ends[0] = fd;
    link->ends[1] = other;
    bool enough = atomic_load(&proxy->cuts) >= atomic_load(&proxy->cuts_max);
    uint32_t life = enough ? 0 : atomic_load(&proxy->life_max);
    link->left = life ? draw(proxy, life) : UINT64_MAX;
}

/* Pass one piece on, blocking on the far side: the proxy may be slow, never wrong. */
static void pass(struct proxy *proxy, struct link *link, int from)
{
    uint8_t piece[PIECE_MAX];
    size_t want = 1 + draw(proxy, PIECE_MAX);
    if (want > link->left)
        want = link->left;
    ssize_t got = want ? recv(link->ends[from], piece, want, MSG_DONTWAIT) : 0;
    if (got < 0)
        return;
    if (got == 0 ||
        shl_sock_send_all(link->ends[!from], piece, (size_t)got, shl_now_ns() + 1000000000) < 0) {
        cut(proxy, link);
        return;
    }
    if (link->left != UINT64_MAX)
        link->left -= (uint64_t)got;
    if (!link->left)
        cut(proxy, link);
}

static void turn(struct proxy *proxy)
{
    static struct pollfd fds[TARGETS_MAX + 2 * LINKS_MAX];
    static int whose[TARGETS_MAX + 2 * LINKS_MAX];
    nfds_t count = 0;
    for (uint32_t i = 0; i < proxy->target_count; i++)
        fds[count++] = (struct pollfd){.fd = proxy->targets[i].listener, .events = POLLIN};
    for (int i = 0; i < LINKS_MAX; i++)
        for (int end = 0; end < 2 && proxy->links[i].ends[0] >= 0; end++) {
            whose[count] = 2 * i + end;
            fds[count++] = (struct pollfd){.fd = proxy->links[i].ends[end], .events = POLLIN};
        }
    if (poll(fds, count, 20) <= 0)
        return;
    for (uint32_t i = 0; i < proxy->target_count; i++)
        if (fds[i].revents)
            open_link(proxy, i);
    for (nfds_t i = proxy->target_count; i < count; i++) {
        struct link *link = &proxy->links[whose[i] / 2];
        if (fds[i].revents && link->ends[whose[i] % 2] == fds[i].fd)
            pass(proxy, link, whose[i] % 2);
    }
}

static void *run(void *arg)
{
    struct proxy *proxy = arg;
    while (!atomic_load(&proxy->stop))
        turn(proxy);
    return NULL;
}

void proxy_start(struct proxy *proxy)
{
    proxy->started = true;
    assert_int_equal(pthread_create(&proxy->thread, NULL, run, proxy), 0);
}

void proxy_set_life(struct proxy *proxy, uint32_t bytes_max, uint64_t cuts_max)
{
    atomic_store(&proxy->cuts_max, cuts_max);
    atomic_store(&proxy->life_max, bytes_max);
}

uint64_t proxy_cuts(const struct proxy *proxy)
{
    return atomic_load(&proxy->cuts);
}

void proxy_destroy(struct proxy *proxy)
{
    atomic_store(&proxy->stop, true);
    if (proxy->started)
        pthread_join(proxy->thread, NULL);
    for (uint32_t i = 0; i < proxy->target_count; i++)
        shl_fd->close(proxy->targets[i].listener);
    for (int i = 0; i < LINKS_MAX; i++)
        for (int end = 0; end < 2; end++)
            if (proxy->links[i].ends[end] >= 0)
                shl_fd->close(proxy->links[i].ends[end]);
    free(proxy);
}
