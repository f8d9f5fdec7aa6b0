/*
 * Interface selection: a list of rules applied to a list of addresses.
 *
 * Invariant: without a rule that names it, no loopback address comes before another one and no
 * bridge of a container engine is ever chosen.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/interface.h"

#include <net/if.h>
#include <stdio.h>
#include <string.h>

#define RULES_MAX 32

struct rule {
    bool exclude;
    bool exact;
    bool cidr;
    char text[64]; /* a name or a prefix of one */
    struct shl_sockaddr network;
    uint32_t prefix_bits;
};

/* Made by container engines, hypervisors and overlay networks: reachable, if at all, only from
 * this host, though they look like any other interface. */
static const char *const virtual_prefixes[] = {
    "docker", "br-",   "veth",    "virbr", "cni",    "flannel", "cali",
    "tunl",   "vxlan", "lxc",     "lxd",   "podman", "kube-",   "nodelocaldns",
    "cilium", "weave", "antrea-", "ovn-",  "dummy",  "vmnet",   "vboxnet",
};

/* ---- rules ------------------------------------------------------------------------------- */

static bool parse_cidr(const char *item, struct rule *rule)
{
    char host[64];
    const char *slash = strchr(item, '/');
    size_t length = slash ? (size_t)(slash - item) : strlen(item);
    if (length >= sizeof(host))
        return false;
    memcpy(host, item, length);
    host[length] = '\0';
    if (!shl_sockaddr_parse(host, 0, &rule->network))
        return false;
    uint32_t widest = rule->network.any.sa_family == AF_INET ? 32 : 128;
    uint32_t bits = slash ? 0 : widest;
    const char *digit = slash ? slash + 1 : "";
    if (slash && (!*digit || strlen(digit) > 3))
        return false;
    for (; *digit; digit++) {
        if (*digit < '0' || *digit > '9')
            return false;
        bits = bits * 10 + (uint32_t)(*digit - '0');
    }
    rule->prefix_bits = bits;
    rule->cidr = true;
    return bits <= widest;
}

static enum shoal_status parse_item(const char *item, size_t length, bool exclude, bool exact,
                                    struct rule *rule)
{
    memset(rule, 0, sizeof(*rule));
    if (!length || length >= sizeof(rule->text))
        return shl_fail(SHOAL_ERR_CONFIG, "SHOAL_INTERFACE has an empty or overlong item");
    rule->exclude = exclude;
    rule->exact = exact;
    memcpy(rule->text, item, length);
    if (strchr(rule->text, '/') && !parse_cidr(rule->text, rule))
        return shl_fail(SHOAL_ERR_CONFIG,
                        "SHOAL_INTERFACE: \"%s\" is no CIDR; write e.g. 10.0.0.0/8 or fd00::/8",
                        rule->text);
    if (!rule->cidr)
        rule->cidr = parse_cidr(rule->text, rule); /* a single address */
    return SHOAL_OK;
}

static enum shoal_status parse_spec(const char *spec, struct rule *rules, uint32_t *count)
{
    bool exclude = false, exact = false;
    uint32_t found = 0;
    for (const char *at = spec; *at;) {
        size_t length = strcspn(at, ",");
        size_t marker = strspn(at, "^=+");
        if (marker > length)
            marker = length;
        if (marker) {
            exclude = memchr(at, '^', marker) != NULL;
            exact = memchr(at, '=', marker) != NULL;
        }
        if (found == RULES_MAX)
            return shl_fail(SHOAL_ERR_CONFIG, "SHOAL_INTERFACE has more than %d items", RULES_MAX);
        SHL_TRY(parse_item(at + marker, length - marker, exclude, exact, &rules[found]));
        found++;
        at += length + (at[length] == ',');
    }
    *count = found;
    return SHOAL_OK;
}

/* ---- matching ---------------------------------------------------------------------------- */

static bool in_network(const struct shl_sockaddr *addr, const struct rule *rule)
{
    if (addr->any.sa_family != rule->network.any.sa_family)
        return false;
    bool v4 = addr->any.sa_family == AF_INET;
    const uint8_t *a = v4 ? (const void *)&addr->v4.sin_addr : (const void *)&addr->v6.sin6_addr;
    const uint8_t *b =
        v4 ? (const void *)&rule->network.v4.sin_addr : (const void *)&rule->network.v6.sin6_addr;
    uint32_t whole = rule->prefix_bits / 8, rest = rule->prefix_bits % 8;
    if (memcmp(a, b, whole))
        return false;
    return !rest || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

static bool matches(const struct shl_interface *interface, const struct rule *rule)
{
    if (rule->cidr)
        return in_network(&interface->addr, rule);
    if (rule->exact)
        return strcmp(interface->name, rule->text) == 0;
    return strncmp(interface->name, rule->text, strlen(rule->text)) == 0;
}

static bool is_virtual(const char *name)
{
    for (size_t i = 0; i < sizeof(virtual_prefixes) / sizeof(virtual_prefixes[0]); i++)
        if (strncmp(name, virtual_prefixes[i], strlen(virtual_prefixes[i])) == 0)
            return true;
    return false;
}

static bool is_link_local(const struct shl_sockaddr *addr)
{
    if (addr->any.sa_family == AF_INET6)
        return IN6_IS_ADDR_LINKLOCAL(&addr->v6.sin6_addr);
    return (ntohl(addr->v4.sin_addr.s_addr) >> 16) == 0xa9fe;
}

/* Rank of an address in the published list; UINT32_MAX: not chosen. An address that an including
 * rule names comes in the order of the rules, others after it, loopback last. */
static uint32_t grade(const struct shl_interface *interface, const struct rule *rules,
                      uint32_t count)
{
    uint32_t order = UINT32_MAX;
    bool including = false;
    for (uint32_t i = 0; i < count; i++) {
        including |= !rules[i].exclude;
        if (!matches(interface, &rules[i]))
            continue;
        if (rules[i].exclude)
            return UINT32_MAX;
        if (order == UINT32_MAX)
            order = i;
    }
    if (including)
        return order;
    if (is_virtual(interface->name) || is_link_local(&interface->addr))
        return UINT32_MAX;
    if (interface->loopback)
        return RULES_MAX + 2;
    return interface->carrier ? RULES_MAX : RULES_MAX + 1;
}

static enum shoal_status nothing_selected(const struct shl_interface *list, uint32_t count,
                                          const char *spec, bool loopback_only)
{
    char names[400] = "";
    size_t at = 0;
    for (uint32_t i = 0; i < count && at < sizeof(names) - 1; i++) {
        char addr[SHL_SOCK_TEXT_BYTES];
        shl_sockaddr_format(&list[i].addr, addr, sizeof(addr));
        char *port = strrchr(addr, ':'); /* is 0 here and would only puzzle */
        if (port)
            *port = '\0';
        int wrote = snprintf(names + at, sizeof(names) - at, "%s%s %s%s", at ? ", " : "",
                             list[i].name, addr, list[i].up ? "" : " (down)");
        at += wrote > 0 ? (size_t)wrote : 0;
    }
    return shl_fail(SHOAL_ERR_CONFIG,
                    "SHOAL_INTERFACE=\"%s\" selects no usable address%s; there are: %s", spec,
                    loopback_only ? " (without a secret only loopback may be used: set "
                                    "SHOAL_SECRET_FILE, or SHOAL_INSECURE=1)"
                                  : "",
                    count ? names : "none");
}

enum shoal_status shl_interface_select(const struct shl_interface *list, uint32_t count,
                                       const char *spec, bool loopback_only, uint32_t *chosen,
                                       uint32_t capacity, uint32_t *chosen_count)
{
    struct rule rules[RULES_MAX];
    uint32_t rule_count = 0, found = 0;
    SHL_TRY(parse_spec(spec, rules, &rule_count));
    for (uint32_t order = 0; order <= RULES_MAX + 2; order++) {
        for (uint32_t i = 0; i < count && found < capacity; i++) {
            if (!list[i].up || (loopback_only && !list[i].loopback))
                continue;
            if (grade(&list[i], rules, rule_count) == order)
                chosen[found++] = i;
        }
    }
    if (!found)
        return nothing_selected(list, count, spec, loopback_only);
    *chosen_count = found;
    return SHOAL_OK;
}

/* ---- the host's own ---------------------------------------------------------------------- */

static uint32_t mask_bits(const struct sockaddr *mask)
{
    const uint8_t *bytes;
    size_t length;
    uint32_t bits = 0;
    if (!mask)
        return 0;
    if (mask->sa_family == AF_INET) {
        bytes = (const uint8_t *)&((const struct sockaddr_in *)mask)->sin_addr;
        length = 4;
    } else {
        bytes = (const uint8_t *)&((const struct sockaddr_in6 *)mask)->sin6_addr;
        length = 16;
    }
    for (size_t i = 0; i < length; i++)
        bits += (uint32_t)__builtin_popcount(bytes[i]);
    return bits;
}

enum shoal_status shl_interface_list(struct shl_interface *list, uint32_t capacity, uint32_t *count)
{
    struct ifaddrs *all;
    uint32_t found = 0;
    if (shl_sock->getifaddrs(&all))
        return shl_fail_errno("cannot list the network interfaces");
    for (const struct ifaddrs *one = all; one && found < capacity; one = one->ifa_next) {
        if (!one->ifa_addr ||
            (one->ifa_addr->sa_family != AF_INET && one->ifa_addr->sa_family != AF_INET6))
            continue;
        struct shl_interface *entry = &list[found++];
        memset(entry, 0, sizeof(*entry));
        snprintf(entry->name, sizeof(entry->name), "%s", one->ifa_name);
        entry->addr.bytes = one->ifa_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in)
                                                                : sizeof(struct sockaddr_in6);
        memcpy(&entry->addr.any, one->ifa_addr, entry->addr.bytes);
        entry->prefix_bits = mask_bits(one->ifa_netmask);
        entry->up = (one->ifa_flags & IFF_UP) != 0;
        entry->carrier = (one->ifa_flags & IFF_RUNNING) != 0;
        entry->loopback = (one->ifa_flags & IFF_LOOPBACK) != 0;
    }
    shl_sock->freeifaddrs(all);
    *count = found;
    return SHOAL_OK;
}
