/*
 * Checks of addresses and of the rules that route them: in this network namespace, and with --probe
 * on the wire, by the ARP probe of RFC 5227.
 *
 * Invariant: the probe claims nothing: its sender's address is zero, so that no cache changes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cidr.h"
#include "doctor.h"

#include "core/sys.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/if_ether.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ADDRESSES_MAX 256
#define ANSWER_MS 300

struct entry {
    const char *interface, *text; /* text: with its prefix */
    struct cni_cidr cidr;
    bool rail; /* Ethernet, and not where the default route leaves */
};

struct table {
    struct entry list[ADDRESSES_MAX];
    size_t count;
};

/* Link-local ones may be the same everywhere. */
static void gather(const struct cni_doctor *doctor, struct table *table)
{
    const json_t *netdev, *address;
    size_t i, j;
    json_array_foreach(json_object_get(doctor->inventory, "netdevs"), i, netdev)
    {
        bool ethernet = strcmp(cni_doctor_text_of(netdev, "kind"), "ethernet") == 0;
        bool first = json_is_true(json_object_get(netdev, "default_route"));
        json_array_foreach(json_object_get(netdev, "addresses"), j, address)
        {
            struct entry entry = {.interface = cni_doctor_text_of(netdev, "name"),
                                  .text = json_string_value(address),
                                  .rail = ethernet && !first};
            if (table->count < ADDRESSES_MAX && cni_cidr_parse(entry.text, &entry.cidr) &&
                strncmp(entry.text, "fe80:", 5) != 0)
                table->list[table->count++] = entry;
        }
    }
}

static void check_twice(struct cni_doctor *doctor, const struct table *table)
{
    bool twice = false;
    for (size_t i = 0; i < table->count; i++)
        for (size_t j = i + 1; j < table->count; j++) {
            const struct entry *one = &table->list[i], *two = &table->list[j];
            if (cni_address_compare(&one->cidr.address, &two->cidr.address) != 0 ||
                one->cidr.address.v6 != two->cidr.address.v6 ||
                strcmp(one->interface, two->interface) == 0)
                continue;
            cni_doctor_bad(doctor, CNI_CHECK_address, CNI_ERROR, "%s of %s is %s of %s, too",
                           one->text, one->interface, two->text, two->interface);
            twice = true;
        }
    if (!twice && table->count)
        cni_doctor_good(doctor, CNI_CHECK_address, "%zu in this network namespace, none twice",
                        table->count);
}

/* ---- rules -------------------------------------------------------------------------------------
 */

/* The word behind another in a rule's text; false: it is not there. */
static bool word_after(const char *rule, const char *key, char *out, size_t capacity)
{
    char mark[16];
    snprintf(mark, sizeof(mark), " %s ", key);
    const char *at = strstr(rule, mark);
    if (!at)
        return false;
    at += strlen(mark);
    snprintf(out, capacity, "%.*s", (int)strcspn(at, " "), at);
    return true;
}

static bool is_served(const struct table *table, const char *from)
{
    struct cni_cidr source;
    if (!cni_cidr_parse(from, &source))
        return true; /* "all" */
    for (size_t i = 0; i < table->count; i++)
        if (cni_cidr_contains(&source, &table->list[i].cidr.address))
            return true;
    return false;
}

/* Returns whether it is one of those that every namespace has. */
static bool check_rule(struct cni_doctor *doctor, const struct table *table, const char *rule,
                       bool *good)
{
    static const char *const keys[] = {"iif", "oif"};
    char word[80];
    for (size_t i = 0; i < 2; i++)
        if (word_after(rule, keys[i], word, sizeof(word)) && !cni_doctor_netdev(doctor, word)) {
            cni_doctor_bad(doctor, CNI_CHECK_policy, CNI_WARNING, "\"%.160s\": no interface %.40s",
                           rule, word);
            *good = false;
        }
    /* What pods' networks come from are rules of the node for addresses that are not its own. */
    if (doctor->pod && word_after(rule, "from", word, sizeof(word)) && !is_served(table, word)) {
        cni_doctor_bad(doctor, CNI_CHECK_policy, CNI_WARNING,
                       "\"%.160s\": no address of that range is here", rule);
        *good = false;
    }
    return strstr(rule, " from all lookup 255") || strstr(rule, " from all lookup 254") ||
           strstr(rule, " from all lookup 253");
}

static bool has_rule_from(const json_t *rules, const struct entry *entry)
{
    const json_t *rule;
    size_t index;
    json_array_foreach(rules, index, rule)
    {
        char word[80];
        struct cni_cidr source;
        if (word_after(json_string_value(rule), "from", word, sizeof(word)) &&
            cni_cidr_parse(word, &source) && cni_cidr_contains(&source, &entry->cidr.address))
            return true;
    }
    return false;
}

/* Rails of one subnet need rules that tell their traffic apart. */
static bool check_subnets(struct cni_doctor *doctor, const struct table *table, const json_t *rules)
{
    bool good = true;
    for (size_t i = 0; i < table->count; i++)
        for (size_t j = i + 1; j < table->count; j++) {
            const struct entry *one = &table->list[i], *two = &table->list[j];
            if (!one->rail || !two->rail || strcmp(one->interface, two->interface) == 0 ||
                !cni_cidr_overlaps(&one->cidr, &two->cidr) ||
                (has_rule_from(rules, one) && has_rule_from(rules, two)))
                continue;
            cni_doctor_bad(doctor, CNI_CHECK_policy, CNI_WARNING,
                           "%s of %s and %s of %s share a subnet, and no rule tells them apart",
                           one->text, one->interface, two->text, two->interface);
            good = false;
        }
    return good;
}

static void check_rules(struct cni_doctor *doctor, const struct table *table)
{
    const json_t *rules = json_object_get(doctor->inventory, "rules"), *rule;
    size_t index, locals = 0, more = 0;
    bool good = true;
    if (!json_is_array(rules))
        return;
    json_array_foreach(rules, index, rule)
    {
        const char *text = json_string_value(rule);
        locals += strstr(text, "inet ") == text && strstr(text, " lookup 255") != NULL;
        more += !check_rule(doctor, table, text, &good);
    }
    if (json_array_size(rules) && locals != 1) {
        cni_doctor_bad(doctor, CNI_CHECK_policy, CNI_WARNING,
                       "the table local is looked up by %zu IPv4 rules, not by one", locals);
        good = false;
    }
    good &= check_subnets(doctor, table, rules);
    if (good)
        cni_doctor_good(doctor, CNI_CHECK_policy, "%zu rules beside those that the kernel makes",
                        more);
}

void cni_doctor_addresses(struct cni_doctor *doctor)
{
    struct table *table = cni_arena_alloc(doctor->arena, sizeof(*table));
    gather(doctor, table);
    check_twice(doctor, table);
    check_rules(doctor, table);
}

/* ---- on the wire -------------------------------------------------------------------------------
 */

/* A socket for ARP on one interface, or -1. */
static int open_wire(const char *interface)
{
    struct sockaddr_ll at = {.sll_family = AF_PACKET,
                             .sll_protocol = htons(ETH_P_ARP),
                             .sll_ifindex = (int)if_nametoindex(interface)};
    int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ARP));
    if (fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0)
        return fd;
    int error = errno;
    if (fd >= 0)
        close(fd);
    errno = error;
    return -1;
}

static bool send_probe(int fd, const char *interface, const struct cni_address *address)
{
    struct sockaddr_ll self, all = {.sll_family = AF_PACKET,
                                    .sll_protocol = htons(ETH_P_ARP),
                                    .sll_ifindex = (int)if_nametoindex(interface),
                                    .sll_halen = ETH_ALEN};
    socklen_t bytes = sizeof(self);
    struct ether_arp probe = {.ea_hdr = {.ar_hrd = htons(ARPHRD_ETHER),
                                         .ar_pro = htons(ETHERTYPE_IP),
                                         .ar_hln = ETH_ALEN,
                                         .ar_pln = 4,
                                         .ar_op = htons(ARPOP_REQUEST)}};
    if (getsockname(fd, (struct sockaddr *)&self, &bytes) != 0)
        return false;
    memcpy(probe.arp_sha, self.sll_addr, ETH_ALEN);
    memcpy(probe.arp_tpa, address->bytes, 4);
    memset(all.sll_addr, 0xff, ETH_ALEN);
    return sendto(fd, &probe, sizeof(probe), MSG_NOSIGNAL, (struct sockaddr *)&all, sizeof(all)) ==
           (ssize_t)sizeof(probe);
}

/* Whether somebody answers for the address; *who: their hardware address. */
static bool is_answered(int fd, const struct cni_address *address, uint8_t who[ETH_ALEN])
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    uint64_t end_ns = shl_now_ns() + ANSWER_MS * UINT64_C(1000000);
    for (uint64_t now_ns; (now_ns = shl_now_ns()) < end_ns;) {
        struct ether_arp answer;
        if (poll(&ready, 1, (int)((end_ns - now_ns) / 1000000) + 1) != 1)
            return false;
        ssize_t got = recv(fd, &answer, sizeof(answer), 0);
        if (got != (ssize_t)sizeof(answer) || answer.ea_hdr.ar_op != htons(ARPOP_REPLY) ||
            memcmp(answer.arp_spa, address->bytes, 4) != 0)
            continue;
        memcpy(who, answer.arp_sha, ETH_ALEN);
        return true;
    }
    return false;
}

/* The interface of this network namespace that has a hardware address, or NULL. */
static const char *own_interface(const struct cni_doctor *doctor, const char *hardware)
{
    const json_t *netdev;
    size_t index;
    json_array_foreach(json_object_get(doctor->inventory, "netdevs"), index, netdev)
    {
        if (strcmp(cni_doctor_text_of(netdev, "address"), hardware) == 0)
            return cni_doctor_text_of(netdev, "name");
    }
    return NULL;
}

static void report_answer(struct cni_doctor *doctor, const struct entry *entry,
                          const uint8_t who[ETH_ALEN])
{
    char hardware[3 * ETH_ALEN];
    snprintf(hardware, sizeof(hardware), "%02x:%02x:%02x:%02x:%02x:%02x", who[0], who[1], who[2],
             who[3], who[4], who[5]);
    const char *own = own_interface(doctor, hardware);
    if (own)
        cni_doctor_bad(doctor, CNI_CHECK_rails, CNI_WARNING, "%s answers for %s of %s, too", own,
                       entry->text, entry->interface);
    else
        cni_doctor_bad(doctor, CNI_CHECK_address, CNI_ERROR, "%s of %s is answered for by %s, too",
                       entry->text, entry->interface, hardware);
}

/* False: it cannot be asked. */
static bool probe_address(struct cni_doctor *doctor, const struct entry *entry)
{
    uint8_t who[ETH_ALEN];
    int fd = open_wire(entry->interface);
    if (fd < 0 || !send_probe(fd, entry->interface, &entry->cidr.address)) {
        cni_doctor_bad(doctor, CNI_CHECK_address, CNI_NOTE,
                       "whether others have %s of %s is not asked: %s%s", entry->text,
                       entry->interface, strerror(errno),
                       errno == EPERM ? "; it takes the capability NET_RAW" : "");
        if (fd >= 0)
            close(fd);
        return false;
    }
    if (is_answered(fd, &entry->cidr.address, who))
        report_answer(doctor, entry, who);
    else
        cni_doctor_good(doctor, CNI_CHECK_address, "nobody else answers for %s of %s", entry->text,
                        entry->interface);
    close(fd);
    return true;
}

void cni_doctor_addresses_probe(struct cni_doctor *doctor)
{
    struct table *table = cni_arena_alloc(doctor->arena, sizeof(*table));
    gather(doctor, table);
    for (size_t i = 0; i < table->count; i++)
        if (table->list[i].rail && !table->list[i].cidr.address.v6 &&
            !probe_address(doctor, &table->list[i]))
            return;
}
