/*
 * What ranks tell each other before they connect: how many flows, and who shares a host.
 *
 * One flow is enough within a host and up to 1 Gbit/s. Beyond, one flow is held back by one core's
 * receive path, by a cloud's limit for a flow, or by one congestion window: two up to 20 Gbit/s,
 * then one for each 20 Gbit/s. Where the speed is not told (virtual machines) four.
 * Public clouds cap a flow at 5 to 10 Gbit/s, so one is not enough there.
 *
 * Invariant: both sides of a pair choose the smaller of the two wishes, so they agree.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/tcp/tcp_link.h"

#include "core/bytes.h"
#include "core/config.h"
#include "core/log.h"
#include "core/sys.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#define BLOB_VERSION 1
#define CONFIG_TRANSPORT_TCP 2u /* bit of "tcp" in SHOAL_TRANSPORT */
#define FLOWS_AUTO_MAX 8
#define FLOWS_SPEED_UNKNOWN 4

/* FNV-1a; only compared for equality among the ranks of one job. */
static uint64_t digest(const char *text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
    return hash;
}

/* A small file of the kernel's, ended with zero. false: cannot be read. */
static bool read_file(const char *path, char *text, size_t capacity)
{
    int fd = shl_fd->open(path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return false;
    ssize_t got = shl_fd->read(fd, text, capacity - 1);
    shl_fd->close(fd);
    text[got > 0 ? got : 0] = 0;
    return got > 0;
}

/* In Mbit/s; 0: not told. */
static long interface_speed(const char *name)
{
    char path[128], text[32];
    snprintf(path, sizeof(path), "/sys/class/net/%.32s/speed", name);
    if (!read_file(path, text, sizeof(text)))
        return 0;
    long speed = strtol(text, NULL, 10);
    return speed > 0 ? speed : 0;
}

static uint32_t flows_for_speed(long mbit)
{
    if (mbit == 0)
        return FLOWS_SPEED_UNKNOWN;
    if (mbit <= 1000)
        return 1;
    long flows = (mbit + 19999) / 20000;
    flows = flows < 2 ? 2 : flows;
    return flows > FLOWS_AUTO_MAX ? FLOWS_AUTO_MAX : (uint32_t)flows;
}

/* By the fastest interface that is not loopback. */
static uint32_t choose_flows(void)
{
    char text[8192], *save = NULL;
    long best = 0;
    if (!read_file("/proc/net/dev", text, sizeof(text)))
        return FLOWS_SPEED_UNKNOWN;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *colon = strchr(line, ':');
        if (!colon)
            continue; /* a heading */
        *colon = 0;
        while (*line == ' ')
            line++;
        long speed = strcmp(line, "lo") ? interface_speed(line) : 0;
        best = speed > best ? speed : best;
    }
    return flows_for_speed(best);
}

size_t shl_tcp_describe(struct shl_transport *t, void *blob, size_t capacity)
{
    const struct shl_config *config = t->env->config;
    struct shl_bytes out = shl_bytes_writer(blob, capacity);
    t->flows_wanted = config->tcp_flows ? (uint32_t)config->tcp_flows : choose_flows();
    shl_bytes_put_u8(&out, BLOB_VERSION);
    shl_bytes_put_u8(&out, (config->transport & CONFIG_TRANSPORT_TCP) != 0);
    shl_bytes_put_u8(&out, (uint8_t)t->flows_wanted);
    shl_bytes_put_u64(&out, digest(shl_tcp_channels->host_id(t->env->control)));
    return out.failed ? 0 : out.at;
}

/* One peer's description. NULL, or why it cannot be reached. */
static const char *attach_peer(struct shl_transport *t, const void *blob, size_t blob_bytes,
                               struct shl_tcp_peer *peer)
{
    const struct shl_config *config = t->env->config;
    struct shl_bytes in = shl_bytes_reader(blob, blob ? blob_bytes : 0);
    uint8_t version = shl_bytes_get_u8(&in);
    uint8_t allowed = shl_bytes_get_u8(&in);
    uint32_t wanted = shl_bytes_get_u8(&in);
    uint64_t host = shl_bytes_get_u64(&in);
    if (in.failed || version != BLOB_VERSION || wanted == 0 || wanted > SHL_TCP_FLOWS_MAX)
        return "its description is not legal";
    if (!(config->transport & CONFIG_TRANSPORT_TCP))
        return "tcp is not in SHOAL_TRANSPORT here";
    if (!allowed)
        return "tcp is not in SHOAL_TRANSPORT there";
    peer->local = host == digest(shl_tcp_channels->host_id(t->env->control));
    peer->flow_count = wanted < t->flows_wanted ? wanted : t->flows_wanted;
    if (peer->local && !config->tcp_flows)
        peer->flow_count = 1;
    return NULL;
}

enum shoal_status shl_tcp_attach(struct shl_transport *t, const void *const *blobs,
                                 const size_t *blob_bytes, uint64_t deadline_ns, bool *reaches)
{
    (void)deadline_ns; /* connections are made on first use, by whichever side comes first */
    for (uint32_t peer = 0; peer < t->env->size; peer++) {
        reaches[peer] = false;
        if (peer == t->env->rank)
            continue;
        const char *why = attach_peer(t, blobs[peer], blob_bytes[peer], &t->peers[peer]);
        reaches[peer] = !why;
        if (!why)
            SHL_TRY(shl_tcp_stand_by(t, peer));
        else
            shl_log(SHL_LOG_INFO, "tcp does not reach rank %u: %s", peer, why);
    }
    return SHOAL_OK;
}
