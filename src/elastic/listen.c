/*
 * Where a server of a job listens.
 *
 * Invariant: with a key that holds no secret, and unless SHOAL_INSECURE is set, only loopback and
 * local sockets are bound.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/listen.h"

#include "control/resolve.h"
#include "core/sys.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ADDRESSES 8
#define RESOLVE_NS 5000000000ull

static enum shoal_status listen_local(struct shl_listener *listener, const char *address,
                                      char text[SHL_SOCK_TEXT_BYTES])
{
    struct shl_sockaddr addr, bound;
    SHL_TRY(shl_sockaddr_unix(address + 1, &addr));
    SHL_TRY(shl_listener_add(listener, &addr, &bound));
    snprintf(text, SHL_SOCK_TEXT_BYTES, "%s", address);
    return SHOAL_OK;
}

static void set_port(struct shl_sockaddr *addr, uint16_t port)
{
    if (addr->any.sa_family == AF_INET)
        addr->v4.sin_port = htons(port);
    else
        addr->v6.sin6_port = htons(port);
}

/* Addresses in `found` for the wildcard: one socket for both families where that exists. */
static uint32_t wildcard(struct shl_sockaddr *found, uint16_t port)
{
    memset(found, 0, 2 * sizeof(*found));
    found[0].bytes = sizeof(found[0].v6);
    found[0].v6.sin6_family = AF_INET6;
    found[1].bytes = sizeof(found[1].v4);
    found[1].v4.sin_family = AF_INET;
    set_port(&found[0], port);
    set_port(&found[1], port);
    return 2;
}

/* Bind what can be bound; all with the port that the first one got. */
static enum shoal_status listen_on(struct shl_listener *listener, struct shl_sockaddr *addresses,
                                   uint32_t count, uint16_t *port)
{
    enum shoal_status status = SHOAL_OK;
    char text[512] = "";
    uint32_t listening = 0;
    int error = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct shl_sockaddr bound;
        set_port(&addresses[i], *port);
        enum shoal_status one = shl_listener_add(listener, &addresses[i], &bound);
        if (one == SHOAL_OK) {
            *port = shl_sockaddr_port(&bound);
            listening++;
        } else if (status == SHOAL_OK) {
            status = one;
            error = errno;
            snprintf(text, sizeof(text), "%.500s", shl_error_text());
        }
    }
    if (listening)
        return SHOAL_OK;
    errno = error;
    return shl_fail(status, "%s", text);
}

static enum shoal_status refuse_open(const char *what, const char *address)
{
    errno = EACCES;
    return shl_fail(SHOAL_ERR_CONFIG,
                    "the %s at %s can be reached from other hosts, but there is no secret; set "
                    "SHOAL_SECRET_FILE on all ranks (or SHOAL_INSECURE=1 on a trusted network)",
                    what, address);
}

enum shoal_status shl_listen_at(struct shl_listener *listener, const struct shl_config *config,
                                const char *what, const char *address,
                                char text[SHL_SOCK_TEXT_BYTES])
{
    char host[SHL_SOCK_TEXT_BYTES - 8];
    uint16_t port;
    struct shl_sockaddr found[ADDRESSES];
    uint32_t count = 0;
    if (address[0] == '@')
        return listen_local(listener, address, text);
    SHL_TRY(shl_sock_split(address, -1, host, sizeof(host), &port));
    bool open = listener->key->secret || config->insecure;
    bool any = strcmp(host, "*") == 0;
    struct shl_sockaddr numeric;
    bool name = !any && !shl_sockaddr_parse(host, port, &numeric);
    if (any)
        count = wildcard(found, port);
    else
        SHL_TRY(shl_resolve(host, port, shl_now_ns() + RESOLVE_NS, found, ADDRESSES, &count));
    bool all_loopback = true, some_loopback = false;
    for (uint32_t i = 0; i < count; i++) {
        all_loopback &= shl_sockaddr_is_loopback(&found[i]);
        some_loopback |= shl_sockaddr_is_loopback(&found[i]);
    }
    if (!all_loopback && !open)
        return refuse_open(what, address);
    /* Some systems give a host's own name a loopback address; other hosts know the real one. */
    if (name && some_loopback && open && strcmp(host, "localhost") != 0)
        count = wildcard(found, port);
    SHL_TRY(listen_on(listener, found, count, &port));
    snprintf(text, SHL_SOCK_TEXT_BYTES, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
    return SHOAL_OK;
}
