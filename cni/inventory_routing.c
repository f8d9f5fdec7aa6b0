/*
 * Addresses of interfaces and rules of policy routing, which the kernel tells by netlink only. A
 * captured tree has them as files, one entry a line.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "inventory.h"
#include "netlink.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/fib_rules.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESSES "/netlink/addresses" /* in captures */
#define RULES "/netlink/rules"

/* ---- addresses ---------------------------------------------------------------------------------
 */

static int prefix_of(const struct sockaddr *mask)
{
    int prefix = 0;
    if (!mask)
        return -1;
    bool v6 = mask->sa_family == AF_INET6;
    const uint8_t *bytes =
        v6 ? ((const struct sockaddr_in6 *)(const void *)mask)->sin6_addr.s6_addr
           : (const uint8_t *)&((const struct sockaddr_in *)(const void *)mask)->sin_addr;
    while (prefix < (v6 ? 128 : 32) && (bytes[prefix / 8] >> (7 - prefix % 8) & 1))
        prefix++;
    return prefix;
}

static void print_address(FILE *out, const struct ifaddrs *at)
{
    char text[INET6_ADDRSTRLEN];
    if (!at->ifa_addr ||
        (at->ifa_addr->sa_family != AF_INET && at->ifa_addr->sa_family != AF_INET6))
        return;
    bool v6 = at->ifa_addr->sa_family == AF_INET6;
    const void *bytes =
        v6 ? (const void *)&((const struct sockaddr_in6 *)(const void *)at->ifa_addr)->sin6_addr
           : (const void *)&((const struct sockaddr_in *)(const void *)at->ifa_addr)->sin_addr;
    if (inet_ntop(at->ifa_addr->sa_family, bytes, text, sizeof(text)))
        fprintf(out, "%s %s/%d\n", at->ifa_name, text, prefix_of(at->ifa_netmask));
}

static char *ask_addresses(void)
{
    struct ifaddrs *list;
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = getifaddrs(&list) == 0 ? open_memstream(&text, &bytes) : NULL;
    if (!out)
        return NULL;
    for (const struct ifaddrs *at = list; at; at = at->ifa_next)
        print_address(out, at);
    freeifaddrs(list);
    fclose(out);
    return text;
}

const char *cni_inventory_addresses(struct cni_sysfs *sysfs)
{
    if (!cni_sysfs_live(sysfs))
        return cni_sysfs_text(sysfs, ADDRESSES);
    char *text = ask_addresses();
    const char *kept = text ? cni_sysfs_add(sysfs, text, ADDRESSES) : NULL;
    free(text);
    return kept;
}

json_t *cni_inventory_addresses_of(const char *addresses, const char *interface)
{
    json_t *list = addresses ? json_array() : json_null();
    size_t length = strlen(interface);
    for (const char *line = addresses; line && *line; line += strspn(line, "\n")) {
        size_t end = strcspn(line, "\n");
        if (end > length && strncmp(line, interface, length) == 0 && line[length] == ' ')
            json_array_append_new(list, json_stringn(line + length + 1, end - length - 1));
        line += end;
    }
    return list;
}

/* ---- rules -------------------------------------------------------------------------------------
 */

static void print_prefix(FILE *out, const char *word, int family,
                         const struct cni_netlink_attribute *at, unsigned int prefix)
{
    char text[INET6_ADDRSTRLEN];
    size_t wanted = family == AF_INET6 ? 16 : 4;
    if (at->bytes == wanted && inet_ntop(family, at->data, text, sizeof(text)))
        fprintf(out, " %s %s/%u", word, text, prefix);
}

/* A name that the kernel ends with a zero byte. */
static void print_name(FILE *out, const char *word, const struct cni_netlink_attribute *at)
{
    if (at->bytes > 1 && at->bytes <= IF_NAMESIZE && !at->data[at->bytes - 1])
        fprintf(out, " %s %s", word, (const char *)at->data);
}

/* As `ip rule` prints them, with the family before and numbers for all tables. */
static void print_rule(FILE *out, const struct fib_rule_hdr *rule, const uint8_t *at, size_t left)
{
    struct cni_netlink_attribute found;
    uint32_t priority = 0, table = rule->table;
    if (cni_netlink_find(at, left, FRA_PRIORITY, &found) && found.bytes == sizeof(priority))
        memcpy(&priority, found.data, sizeof(priority));
    if (cni_netlink_find(at, left, FRA_TABLE, &found) && found.bytes == sizeof(table))
        memcpy(&table, found.data, sizeof(table));
    fprintf(out, "%s %u", rule->family == AF_INET6 ? "inet6" : "inet", priority);
    if (cni_netlink_find(at, left, FRA_SRC, &found))
        print_prefix(out, "from", rule->family, &found, rule->src_len);
    else
        fputs(" from all", out);
    if (cni_netlink_find(at, left, FRA_DST, &found))
        print_prefix(out, "to", rule->family, &found, rule->dst_len);
    if (cni_netlink_find(at, left, FRA_IIFNAME, &found))
        print_name(out, "iif", &found);
    if (cni_netlink_find(at, left, FRA_OIFNAME, &found))
        print_name(out, "oif", &found);
    if (rule->action == FR_ACT_TO_TBL)
        fprintf(out, " lookup %u\n", table);
    else
        fprintf(out, " action %u\n", rule->action);
}

static void print_message(void *out, const void *message, size_t bytes)
{
    struct nlmsghdr head;
    struct fib_rule_hdr rule;
    size_t skip = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(rule));
    if (bytes < skip)
        return;
    memcpy(&head, message, sizeof(head));
    memcpy(&rule, (const uint8_t *)message + NLMSG_HDRLEN, sizeof(rule));
    if (head.nlmsg_type == RTM_NEWRULE)
        print_rule(out, &rule, (const uint8_t *)message + skip, bytes - skip);
}

static bool ask_rules(int family, FILE *out)
{
    struct {
        struct nlmsghdr head;
        struct fib_rule_hdr rule;
    } question = {.head = {.nlmsg_len = sizeof(question),
                           .nlmsg_type = RTM_GETRULE,
                           .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
                           .nlmsg_seq = 1},
                  .rule = {.family = (uint8_t)family}};
    return cni_netlink_dump(&question, sizeof(question), print_message, out);
}

static const char *rules(struct cni_sysfs *sysfs)
{
    char *text = NULL;
    size_t bytes = 0;
    if (!cni_sysfs_live(sysfs))
        return cni_sysfs_text(sysfs, RULES);
    FILE *out = open_memstream(&text, &bytes);
    if (!out)
        return NULL;
    bool known = ask_rules(AF_INET, out);
    known |= ask_rules(AF_INET6, out);
    fclose(out);
    const char *kept = known ? cni_sysfs_add(sysfs, text, RULES) : NULL;
    free(text);
    return kept;
}

json_t *cni_inventory_rules(struct cni_sysfs *sysfs)
{
    const char *text = rules(sysfs);
    json_t *list = text ? json_array() : json_null();
    for (; text && *text; text += strspn(text, "\n")) {
        size_t end = strcspn(text, "\n");
        json_array_append_new(list, json_stringn(text, end));
        text += end;
    }
    return list;
}
