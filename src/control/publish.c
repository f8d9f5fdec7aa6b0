/*
 * Listening, and the address that says where.
 *
 * Invariant: without a secret, and unless SHOAL_INSECURE is set, nothing but loopback is bound.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/control_internal.h"
#include "control/interface.h"
#include "core/host.h"
#include "core/log.h"
#include "core/sys.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static enum shoal_status listen_unix(struct shl_control *control)
{
    uint8_t random[12];
    char *name = control->own.unix_name;
    struct shl_sockaddr addr, bound;
    if (shl_random->bytes(random, sizeof(random)))
        return shl_fail_errno("no random bytes for a socket name");
    int at = snprintf(name, sizeof(control->own.unix_name), "shoal-");
    for (size_t i = 0; i < sizeof(random); i++)
        at += snprintf(name + at, sizeof(control->own.unix_name) - (size_t)at, "%02x", random[i]);
    SHL_TRY(shl_sockaddr_unix(name, &addr));
    return shl_listener_add(&control->listener, &addr, &bound);
}

static void set_port(struct shl_sockaddr *addr, uint64_t port)
{
    if (addr->any.sa_family == AF_INET)
        addr->v4.sin_port = htons((uint16_t)port);
    else
        addr->v6.sin6_port = htons((uint16_t)port);
}

static enum shoal_status listen_tcp(struct shl_control *control, struct shl_sockaddr addr,
                                    struct shl_sockaddr *bound)
{
    uint64_t port = control->options.config->port;
    set_port(&addr, port);
    enum shoal_status status = shl_listener_add(&control->listener, &addr, bound);
    if (status < 0 && errno == EADDRINUSE && port)
        return shl_fail(SHOAL_ERR_SYSTEM,
                        "port %llu (SHOAL_PORT) is in use; ranks of one host need different ones, "
                        "or 0 for any",
                        (unsigned long long)port);
    return status;
}

/* Listen on every chosen interface address and publish each. */
static enum shoal_status listen_interfaces(struct shl_control *control)
{
    struct shl_interface list[SHL_INTERFACES_MAX];
    uint32_t count, chosen[SHL_CONTROL_ADDRESSES], chosen_count;
    enum shoal_status status = SHOAL_OK;
    SHL_TRY(shl_interface_list(list, SHL_INTERFACES_MAX, &count));
    SHL_TRY(shl_interface_select(list, count, control->options.config->interface,
                                 control->loopback_only, chosen, SHL_CONTROL_ADDRESSES,
                                 &chosen_count));
    struct shl_control_address *own = &control->own;
    for (uint32_t i = 0; i < chosen_count; i++) {
        struct shl_sockaddr bound;
        status = listen_tcp(control, list[chosen[i]].addr, &bound);
        if (status < 0 && errno == EADDRNOTAVAIL) {
            /* A tentative or just removed address. */
            shl_log(SHL_LOG_INFO, "%s", shl_error_text());
            continue;
        }
        if (status < 0)
            return status;
        shl_sockaddr_format(&bound, own->text[own->count++], SHL_CONTROL_ADDRESS_TEXT);
    }
    return own->count ? SHOAL_OK : status;
}

static enum shoal_status listen_anywhere(struct shl_control *control, uint16_t *port)
{
    struct shl_sockaddr any6 = {.bytes = sizeof(any6.v6), .v6.sin6_family = AF_INET6};
    struct shl_sockaddr any4 = {.bytes = sizeof(any4.v4), .v4.sin_family = AF_INET};
    struct shl_sockaddr bound;
    enum shoal_status status = listen_tcp(control, any6, &bound);
    if (status < 0 && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL))
        status = listen_tcp(control, any4, &bound);
    if (status < 0)
        return status;
    *port = shl_sockaddr_port(&bound);
    return SHOAL_OK;
}

/* SHOAL_ADDRESS: publish what the user says, and listen where that can arrive. */
static enum shoal_status publish_given(struct shl_control *control)
{
    const char *given = control->options.config->address;
    struct shl_control_address *own = &control->own;
    char host[SHL_CONTROL_ADDRESS_TEXT - 8];
    struct shl_sockaddr addr;
    uint16_t port, bound_port;
    SHL_TRY(shl_sock_split(given, 0, host, sizeof(host), &port));
    bool numeric = shl_sockaddr_parse(host, 0, &addr);
    if (control->loopback_only && !(numeric && shl_sockaddr_is_loopback(&addr)))
        return shl_fail(SHOAL_ERR_CONFIG,
                        "SHOAL_ADDRESS=%s asks others to connect, but without a secret only "
                        "loopback is listened on; set SHOAL_SECRET_FILE on all ranks (or "
                        "SHOAL_INSECURE=1 on a trusted network)",
                        given);
    struct shl_sockaddr bound;
    if (numeric && listen_tcp(control, addr, &bound) == SHOAL_OK)
        bound_port = shl_sockaddr_port(&bound);
    else
        SHL_TRY(listen_anywhere(control, &bound_port));
    if (!port)
        port = bound_port;
    snprintf(own->text[own->count++], SHL_CONTROL_ADDRESS_TEXT,
             strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
    return SHOAL_OK;
}

enum shoal_status shl_control_publish(struct shl_control *control)
{
    const struct shl_config *config = control->options.config;
    control->loopback_only = !control->key.secret && !config->insecure;
    if (!control->key.secret && config->insecure)
        shl_log(SHL_LOG_WARN, "SHOAL_INSECURE is set: anyone who reaches this host can join the "
                              "job; set SHOAL_SECRET_FILE instead");
    struct shl_host host;
    SHL_TRY(shl_host_identify(&host));
    control->own.pid = host.pid;
    shl_host_id_format(&host, control->own.host_id, sizeof(control->own.host_id));
    SHL_TRY(listen_unix(control));
    if (config->address[0])
        return publish_given(control);
    return listen_interfaces(control);
}
