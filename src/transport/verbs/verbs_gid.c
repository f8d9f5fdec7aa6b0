/*
 * Chooses a GID by type and value.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_gid.h"

#include <stdio.h>
#include <string.h>

#define UNFIT UINT32_MAX

static bool is_ipv4(const uint8_t *gid)
{
    static const uint8_t prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return memcmp(gid, prefix, sizeof(prefix)) == 0;
}

static bool is_link_local(const uint8_t *gid)
{
    return gid[0] == 0xfe && (gid[1] & 0xc0) == 0x80;
}

static bool is_zero(const uint8_t *gid)
{
    static const uint8_t zero[SHL_VERBS_GID_BYTES];
    return memcmp(gid, zero, sizeof(zero)) == 0;
}

void shl_verbs_gid_format(const uint8_t *gid, char text[SHL_VERBS_GID_TEXT_BYTES])
{
    if (is_ipv4(gid)) {
        snprintf(text, SHL_VERBS_GID_TEXT_BYTES, "%u.%u.%u.%u", gid[12], gid[13], gid[14], gid[15]);
        return;
    }
    size_t at = 0;
    for (unsigned i = 0; i < SHL_VERBS_GID_BYTES; i += 2) {
        unsigned group = (unsigned)gid[i] << 8 | gid[i + 1];
        at +=
            (size_t)snprintf(text + at, SHL_VERBS_GID_TEXT_BYTES - at, "%s%x", i ? ":" : "", group);
    }
}

/* The interface that has the GID's address, NULL: none here. */
static const struct shl_interface *
find_interface(const uint8_t *gid, const struct shl_interface *interfaces, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct shl_sockaddr *addr = &interfaces[i].addr;
        bool same =
            is_ipv4(gid)
                ? addr->any.sa_family == AF_INET && memcmp(&addr->v4.sin_addr, gid + 12, 4) == 0
                : addr->any.sa_family == AF_INET6 && memcmp(&addr->v6.sin6_addr, gid, 16) == 0;
        if (same)
            return &interfaces[i];
    }
    return NULL;
}

static const char *version_string(enum shl_verbs_gid_type type)
{
    return type == SHL_VERBS_GID_ROCE2 ? "RoCE v2" : type == SHL_VERBS_GID_ROCE1 ? "RoCE v1" : "IB";
}

/* How good an entry is, 0 best; UNFIT: `why` says what is wrong. */
static uint32_t grade(const struct shl_verbs_gid *gid, bool asked_for,
                      const struct shl_interface *interface, const char **why)
{
    if (gid->type != SHL_VERBS_GID_ROCE2 && !asked_for) {
        *why = "is not RoCE v2, and cannot be routed";
        return UNFIT;
    }
    if (is_link_local(gid->raw)) {
        *why = "is link-local, and cannot be routed";
        return asked_for ? 0 : UNFIT; /* reaches its own link, if somebody knows it does */
    }
    *why = !interface       ? "no interface in this network namespace has its address"
           : !interface->up ? "its interface is down"
                            : NULL;
    if (*why)
        return UNFIT;
    return is_ipv4(gid->raw) ? 0 : 1;
}

static void append(struct shl_verbs_port *port, const struct shl_verbs_gid *gid, const char *why)
{
    size_t at = strlen(port->reason);
    char text[SHL_VERBS_GID_TEXT_BYTES];
    shl_verbs_gid_format(gid->raw, text);
    snprintf(port->reason + at, sizeof(port->reason) - at, "%sGID %u %s (%s) %s", at ? "; " : "",
             gid->index, text, version_string(gid->type), why);
}

static void take(struct shl_verbs_port *port, const struct shl_verbs_gid *gid,
                 const struct shl_interface *interface, bool asked_for)
{
    port->gid_index = gid->index;
    memcpy(port->gid, gid->raw, sizeof(port->gid));
    shl_verbs_gid_format(gid->raw, port->gid_text);
    snprintf(port->interface, sizeof(port->interface), "%s", interface ? interface->name : "");
    snprintf(port->reason, sizeof(port->reason), "%s, %s",
             asked_for ? "SHOAL_IB_GID_INDEX asks for this GID" : "best GID of the table",
             version_string(gid->type));
}

bool shl_verbs_gid_choose(const struct shl_verbs_gid *gids, uint32_t count, int64_t wanted,
                          const struct shl_interface *interfaces, uint32_t interface_count,
                          struct shl_verbs_port *port)
{
    const struct shl_verbs_gid *best = NULL;
    const struct shl_interface *best_interface = NULL;
    uint32_t best_grade = UNFIT;
    bool asked_for = wanted != SHL_VERBS_GID_ANY;
    port->reason[0] = '\0';
    for (uint32_t i = 0; i < count; i++) {
        const struct shl_interface *interface =
            find_interface(gids[i].raw, interfaces, interface_count);
        const char *why;
        if (is_zero(gids[i].raw) || (asked_for && gids[i].index != wanted))
            continue; /* a hole, or not the one */
        uint32_t found = grade(&gids[i], asked_for, interface, &why);
        if (found == UNFIT)
            append(port, &gids[i], why);
        if (found < best_grade) {
            best = &gids[i];
            best_interface = interface;
            best_grade = found;
        }
    }
    if (best)
        take(port, best, best_interface, asked_for);
    else if (!port->reason[0] && asked_for)
        snprintf(port->reason, sizeof(port->reason),
                 "SHOAL_IB_GID_INDEX asks for GID %lld, which this port does not have; leave it "
                 "unset to have it chosen",
                 (long long)wanted);
    else if (!port->reason[0])
        snprintf(port->reason, sizeof(port->reason),
                 "its GID table is empty: give its interface an address");
    return best != NULL;
}
