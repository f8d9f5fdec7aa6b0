/*
 * The bytes of an authenticated tcp peer: whatever comes, a link keeps its memory, its posted
 * transfers complete at most once, and it ends in order.
 *
 * The input is what the peer sends, from its first byte. Three receives are posted (a small one, a
 * large one, a large one with a sink) and a large send.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/config.h"
#include "core/log.h"
#include "fuzz/fuzz.h"
#include "transport/tcp/tcp_link.h"

#include <sys/socket.h>
#include <unistd.h>

#define TRANSFERS 4
#define SMALL_BYTES 100
#define LARGE_BYTES 131072
#define POLLS 64

static int peer_fd, own_fd;
static unsigned completions[TRANSFERS];

static enum shoal_status dial(struct shl_control *control, uint32_t peer,
                              enum shl_channel_kind kind, uint32_t index, uint64_t deadline_ns,
                              shl_channel_fn ready, void *arg)
{
    int fd = kind == SHL_CHANNEL_TCP_DATA ? own_fd : -1;
    (void)control, (void)deadline_ns;
    own_fd = fd >= 0 ? -1 : own_fd;
    ready(arg, peer, index, fd, "there is no other connection");
    return SHOAL_OK;
}

static const char *host_id(struct shl_control *control)
{
    (void)control;
    return "";
}

static bool wanted(void *arg, const struct shl_tag *tag)
{
    (void)arg;
    return tag->seq < 8;
}

static void seen(void *arg, uint32_t peer, const struct shl_tag *tag,
                 const struct shl_signature *signature)
{
    (void)arg, (void)tag, (void)signature;
    FUZZ_REQUIRE(peer == 0);
}

static void lost(void *arg, uint32_t peer, enum shoal_status status, const char *cause)
{
    unsigned *calls = arg;
    FUZZ_REQUIRE(peer == 0 && status < 0 && cause[0]);
    FUZZ_REQUIRE((*calls)++ == 0);
}

static void done(struct shl_xfer *xfer)
{
    FUZZ_REQUIRE(xfer->status != SHOAL_IN_PROGRESS);
    FUZZ_REQUIRE((*(unsigned *)xfer->owner)++ == 0);
}

static void sink(struct shl_xfer *xfer, uint64_t offset, const void *piece, size_t bytes)
{
    const uint8_t *data = piece;
    FUZZ_REQUIRE(bytes > 0 && bytes <= xfer->bytes && offset <= xfer->bytes - bytes);
    FUZZ_REQUIRE(offset % xfer->elem_bytes == 0 && bytes % xfer->elem_bytes == 0);
    xfer->scratch[5] += data[0] + (uint64_t)data[bytes - 1]; /* must be readable */
}

/* Message i of operation 1, posted; its memory has the exact size, for AddressSanitizer. */
static void post(struct shl_transport *t, struct shl_xfer *xfer, uint32_t i)
{
    *xfer = (struct shl_xfer){.tag = {.seq = 1, .msg = i},
                              .bytes = i == 0 ? SMALL_BYTES : LARGE_BYTES,
                              .elem_bytes = 4,
                              .sink = i == 2 ? sink : NULL,
                              .done = done,
                              .owner = &completions[i]};
    xfer->data = calloc(1, xfer->bytes);
    FUZZ_REQUIRE(xfer->data != NULL);
    completions[i] = 0;
    if (i == 3)
        FUZZ_REQUIRE(shl_transport_tcp.send(t, xfer) == SHOAL_OK);
    else
        FUZZ_REQUIRE(shl_transport_tcp.recv(t, xfer) == SHOAL_OK);
}

static void headers(const uint8_t *data, size_t bytes)
{
    struct shl_tcp_header header;
    uint8_t again[SHL_TCP_HEADER_BYTES];
    char cause[SHL_TCP_CAUSE_BYTES];
    if (bytes < SHL_TCP_HEADER_BYTES ||
        !shl_tcp_header_decode(data, 0, &header, cause, sizeof(cause)))
        return;
    shl_tcp_header_encode(&header, again);
    FUZZ_REQUIRE(memcmp(data, again, sizeof(again)) == 0);
}

static void feed(struct shl_transport *t, const uint8_t *data, size_t bytes)
{
    for (int polls = 0; polls < POLLS; polls++) {
        ssize_t sent = bytes ? send(peer_fd, data, bytes, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
        data += sent > 0 ? sent : 0;
        bytes -= sent > 0 ? (size_t)sent : 0;
        if (shl_transport_tcp.poll(t) == 0 && bytes == 0)
            break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const struct shl_tcp_channels channels = {dial, host_id};
    static struct shl_config config;
    unsigned lost_calls = 0;
    int pair[2];
    char *const nothing[] = {NULL};
    struct shl_config_options options = {.environment = nothing};
    struct shl_transport_env env = {.arg = &lost_calls,
                                    .config = &config,
                                    .rank = 1,
                                    .size = 2,
                                    .wanted = wanted,
                                    .seen = seen,
                                    .lost = lost};
    struct shl_transport *t;
    struct shl_xfer transfers[TRANSFERS];
    if (!config.init_timeout_ms) {
        shl_log_configure(SHL_LOG_OFF, NULL);
        FUZZ_REQUIRE(shl_config_load(&options, &config) == SHOAL_OK);
    }
    headers(data, bytes);
    FUZZ_REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    peer_fd = pair[0];
    own_fd = pair[1];
    shl_tcp_channels = &channels;
    FUZZ_REQUIRE(shl_transport_tcp.open(&env, &t) == SHOAL_OK);
    for (uint32_t i = 0; i < TRANSFERS; i++)
        post(t, &transfers[i], i);
    feed(t, data, bytes);
    shl_transport_tcp.review(t, 0, 1);
    shl_transport_tcp.cancel(t, 0, 1);
    unsigned before = completions[0] + completions[1] + completions[2] + completions[3];
    for (uint32_t i = 0; i < TRANSFERS; i++)
        free(transfers[i].data);
    feed(t, data, bytes); /* nothing may be written to what was freed */
    FUZZ_REQUIRE(before == completions[0] + completions[1] + completions[2] + completions[3]);
    close(peer_fd);
    shl_transport_tcp.poll(t);
    shl_transport_tcp.close(t);
    if (own_fd >= 0)
        close(own_fd);
    return 0;
}
