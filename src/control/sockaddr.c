/*
 * Socket addresses as text and back.
 *
 * Invariant: what shl_sockaddr_format writes for TCP, shl_sock_split and shl_sockaddr_parse read.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/sock.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

static bool parse_port(const char *text, uint16_t *port)
{
    uint32_t value = 0;
    if (!*text || strlen(text) > 5)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        value = value * 10 + (uint32_t)(*text - '0');
    }
    if (value > 65535)
        return false;
    *port = (uint16_t)value;
    return true;
}

enum shoal_status shl_sock_split(const char *text, int default_port, char *host, size_t capacity,
                                 uint16_t *port)
{
    const char *start = text, *end, *colon;
    if (text[0] == '[') {
        start = text + 1;
        end = strchr(start, ']');
        if (!end || (end[1] != '\0' && end[1] != ':'))
            return shl_fail(SHOAL_ERR_INVALID, "address \"%s\": write [v6]:port", text);
        colon = end[1] == ':' ? end + 1 : NULL;
    } else {
        colon = strrchr(text, ':');
        /* Two colons without brackets are a bare IPv6 address, which cannot carry a port. */
        if (colon && strchr(text, ':') != colon)
            colon = NULL;
        end = colon ? colon : text + strlen(text);
    }
    if (end == start)
        return shl_fail(SHOAL_ERR_INVALID, "address \"%s\" has no host; write host:port", text);
    if ((size_t)(end - start) >= capacity)
        return shl_fail(SHOAL_ERR_INVALID, "address \"%.40s...\": the host is longer than %zu",
                        text, capacity - 1);
    uint16_t parsed = (uint16_t)default_port;
    if (colon ? !parse_port(colon + 1, &parsed) : default_port < 0)
        return shl_fail(SHOAL_ERR_INVALID, "address \"%s\" has no port 0..65535; write host:port",
                        text);
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = '\0';
    *port = parsed;
    return SHOAL_OK;
}

bool shl_sockaddr_parse(const char *host, uint16_t port, struct shl_sockaddr *addr)
{
    struct shl_sockaddr parsed;
    memset(&parsed, 0, sizeof(parsed));
    if (inet_pton(AF_INET, host, &parsed.v4.sin_addr) == 1) {
        parsed.v4.sin_family = AF_INET;
        parsed.v4.sin_port = htons(port);
        parsed.bytes = sizeof(parsed.v4);
        *addr = parsed;
        return true;
    }
    char bare[INET6_ADDRSTRLEN];
    const char *scope = strchr(host, '%');
    size_t length = scope ? (size_t)(scope - host) : strlen(host);
    if (length >= sizeof(bare))
        return false;
    memcpy(bare, host, length);
    bare[length] = '\0';
    if (inet_pton(AF_INET6, bare, &parsed.v6.sin6_addr) != 1)
        return false;
    if (scope) {
        parsed.v6.sin6_scope_id = if_nametoindex(scope + 1);
        if (!parsed.v6.sin6_scope_id)
            return false;
    }
    parsed.v6.sin6_family = AF_INET6;
    parsed.v6.sin6_port = htons(port);
    parsed.bytes = sizeof(parsed.v6);
    *addr = parsed;
    return true;
}

enum shoal_status shl_sockaddr_unix(const char *name, struct shl_sockaddr *addr)
{
    size_t length = strlen(name);
    if (!length || length >= sizeof(addr->un.sun_path))
        return shl_fail(SHOAL_ERR_INVALID, "unix socket name of %zu bytes; 1 to %zu are allowed",
                        length, sizeof(addr->un.sun_path) - 1);
    memset(addr, 0, sizeof(*addr));
    addr->un.sun_family = AF_UNIX;
    memcpy(addr->un.sun_path + 1, name, length);
    addr->bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
    return SHOAL_OK;
}

void shl_sockaddr_format(const struct shl_sockaddr *addr, char *text, size_t capacity)
{
    char host[INET6_ADDRSTRLEN] = "?", scope[IF_NAMESIZE + 1] = "";
    switch (addr->any.sa_family) {
    case AF_INET:
        inet_ntop(AF_INET, &addr->v4.sin_addr, host, sizeof(host));
        snprintf(text, capacity, "%s:%u", host, ntohs(addr->v4.sin_port));
        break;
    case AF_INET6:
        inet_ntop(AF_INET6, &addr->v6.sin6_addr, host, sizeof(host));
        if (addr->v6.sin6_scope_id && if_indextoname(addr->v6.sin6_scope_id, scope + 1))
            scope[0] = '%';
        snprintf(text, capacity, "[%s%s]:%u", host, scope, ntohs(addr->v6.sin6_port));
        break;
    case AF_UNIX: {
        size_t head = offsetof(struct sockaddr_un, sun_path) + 1;
        int length = addr->bytes > head ? (int)(addr->bytes - head) : 0;
        snprintf(text, capacity, "@%.*s", length, addr->un.sun_path + 1);
        break;
    }
    default:
        snprintf(text, capacity, "?");
    }
}

bool shl_sockaddr_is_loopback(const struct shl_sockaddr *addr)
{
    if (addr->any.sa_family == AF_INET)
        return (ntohl(addr->v4.sin_addr.s_addr) >> 24) == 127;
    if (addr->any.sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&addr->v6.sin6_addr) ||
               (IN6_IS_ADDR_V4MAPPED(&addr->v6.sin6_addr) && addr->v6.sin6_addr.s6_addr[12] == 127);
    return addr->any.sa_family == AF_UNIX;
}

uint16_t shl_sockaddr_port(const struct shl_sockaddr *addr)
{
    if (addr->any.sa_family == AF_INET)
        return ntohs(addr->v4.sin_port);
    return addr->any.sa_family == AF_INET6 ? ntohs(addr->v6.sin6_port) : 0;
}
