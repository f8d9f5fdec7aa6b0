/*
 * Attachments of a pod: their syntax, the devices they consume, and whether they get along.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "keys.h"

#include "core/suggest.h"

#include <ctype.h>
#include <string.h>

#define ATTACHMENTS_MAX 64
#define NAME_BYTES 128

struct attachment {
    char name[NAME_BYTES], space[NAME_BYTES], interface[NAME_BYTES];
    const struct cni_network *network; /* NULL: not among the files */
};

struct attachments {
    struct cni_check *check;
    const struct cni_pod *pod;
    const struct cni_node *annotation;
    struct attachment list[ATTACHMENTS_MAX];
    size_t count;
};

static bool is_label(const char *name)
{
    size_t length = strlen(name);
    if (!length || name[0] == '-' || name[length - 1] == '-')
        return false;
    for (; *name; name++)
        if (!islower((unsigned char)*name) && !isdigit((unsigned char)*name) && *name != '-')
            return false;
    return true;
}

static void add(struct attachments *all, const struct attachment *attachment)
{
    struct cni_findings *findings = all->check->findings;
    if (!is_label(attachment->name) || (*attachment->space && !is_label(attachment->space))) {
        cni_find(findings, CNI_RULE_attachment_syntax, all->annotation,
                 "\"%.60s\" is no attachment; write [namespace/]name[@interface]",
                 attachment->name);
        return;
    }
    if (strlen(attachment->interface) > 15 || strpbrk(attachment->interface, "/: \t"))
        cni_find(findings, CNI_RULE_interface_name, all->annotation,
                 "\"%.60s\" cannot be an interface: at most 15 bytes without / : and blanks",
                 attachment->interface);
    for (size_t i = 0; i < all->count; i++)
        if (*attachment->interface && strcmp(all->list[i].interface, attachment->interface) == 0)
            cni_find(findings, CNI_RULE_attachment_interface, all->annotation,
                     "the interface %s is given to two attachments", attachment->interface);
    if (all->count < ATTACHMENTS_MAX)
        all->list[all->count++] = *attachment;
}

static void parse_short(struct attachments *all, const char *text, size_t length)
{
    struct attachment attachment = {.network = NULL};
    char part[NAME_BYTES];
    while (length && isspace((unsigned char)*text))
        text++, length--;
    while (length && isspace((unsigned char)text[length - 1]))
        length--;
    snprintf(part, sizeof(part), "%.*s", (int)length, text);
    char *at = strchr(part, '@'), *slash = strchr(part, '/');
    if (at) {
        snprintf(attachment.interface, NAME_BYTES, "%s", at + 1);
        *at = 0;
    }
    if (slash) {
        *slash = 0;
        snprintf(attachment.space, NAME_BYTES, "%s", part);
    }
    snprintf(attachment.name, NAME_BYTES, "%s", slash ? slash + 1 : part);
    add(all, &attachment);
}

/* What multus reads of an attachment. */
static const struct cni_key keys[] = {
    {"name", CNI_TEXT, NULL, 0, 0},
    {"namespace", CNI_TEXT, NULL, 0, 0},
    {"ips", CNI_LIST, "=texts", 0, 0},
    {"mac", CNI_TEXT, "=mac", 0, 0},
    {"infiniband-guid", CNI_TEXT, "=guid", 0, 0},
    {"interface", CNI_TEXT, NULL, 0, 0},
    {"portMappings", CNI_LIST, NULL, 0, 0},
    {"bandwidth", CNI_MAP, NULL, 0, 0},
    {"deviceID", CNI_TEXT, NULL, 0, 0},
    {"cni-args", CNI_MAP, NULL, 0, 0},
    {"default-route", CNI_LIST, "=texts", 0, 0},
    {"ipam-claim-reference", CNI_TEXT, NULL, 0, 0},
    CNI_KEY_END,
};

static void check_members(struct attachments *all, const struct cni_node *entry)
{
    struct cni_address address;
    struct cni_cidr cidr;
    cni_check_keys(all->check, keys, entry, "an attachment");
    CNI_EACH(ip, cni_get_nocase(entry, "ips"))
    {
        if (ip->kind == CNI_TEXT && !cni_address_parse(ip->text, &address) &&
            !cni_cidr_parse(ip->text, &cidr))
            cni_find(all->check->findings, CNI_RULE_ipam_address, ip,
                     "\"%.60s\" among ips is no address", ip->text);
    }
}

static void parse_json(struct attachments *all, const struct cni_node *list)
{
    CNI_EACH(entry, list)
    {
        check_members(all, entry);
        struct attachment attachment = {.network = NULL};
        const char *name = cni_text(cni_get_nocase(entry, "name"));
        const char *space = cni_text(cni_get_nocase(entry, "namespace"));
        const char *interface = cni_text(cni_get_nocase(entry, "interface"));
        snprintf(attachment.name, NAME_BYTES, "%s", name ? name : "");
        snprintf(attachment.space, NAME_BYTES, "%s", space ? space : "");
        snprintf(attachment.interface, NAME_BYTES, "%s", interface ? interface : "");
        add(all, &attachment);
    }
}

static void parse(struct attachments *all)
{
    const char *text = all->annotation->text + strspn(all->annotation->text, " \t\r\n");
    if (*text == '[') {
        struct cni_node *copy = cni_arena_alloc(all->check->arena, sizeof(*copy));
        *copy = *all->annotation; /* of which the JSON becomes a part */
        parse_json(all, cni_check_json(all->check, copy));
        return;
    }
    for (bool more = *text; more;) {
        size_t length = strcspn(text, ",");
        parse_short(all, text, length);
        more = text[length] == ',';
        text += length + more;
    }
}

/* ---- against networks
 * ---------------------------------------------------------------------------- */

static const char *or_default(const char *space)
{
    return *space ? space : "default";
}

static void find_networks(struct attachments *all)
{
    const char *names[65] = {NULL};
    size_t count = 0;
    for (const struct cni_network *at = all->check->networks; at && count < 64; at = at->next)
        if (*at->name)
            names[count++] = at->name;
    for (size_t i = 0; i < all->count; i++) {
        struct attachment *one = &all->list[i];
        const char *space = or_default(*one->space ? one->space : all->pod->space);
        for (const struct cni_network *at = all->check->networks; at; at = at->next)
            if (strcmp(at->name, one->name) == 0 && strcmp(or_default(at->space), space) == 0)
                one->network = at;
        if (one->network || !count)
            continue;
        const char *near = shl_suggest(one->name, names);
        bool elsewhere = near && strcmp(near, one->name) == 0;
        cni_find(all->check->findings, CNI_RULE_attachment_unknown, all->annotation,
                 "%s/%s is in none of the files%s%s%s", space, one->name,
                 elsewhere ? ", though another namespace has it"
                 : near    ? ", did you mean "
                           : "",
                 near && !elsewhere ? near : "", near && !elsewhere ? "?" : "");
    }
}

/* Devices are handed out by resource: as many must be asked for as attachments consume. */
static void check_devices(struct attachments *all)
{
    for (size_t i = 0; i < all->count; i++) {
        const struct cni_network *network = all->list[i].network;
        int64_t needed = 0;
        bool seen = false;
        if (!network || !network->resource)
            continue;
        for (size_t j = 0; j < all->count; j++) {
            const struct cni_network *other = all->list[j].network;
            bool same = other && other->resource && strcmp(other->resource, network->resource) == 0;
            needed += same;
            seen |= same && j < i;
        }
        int64_t asked = cni_pod_resource_count(all->pod, network->resource, network->any_prefix);
        if (!seen && asked < needed)
            cni_find(all->check->findings, CNI_RULE_device_count, all->annotation,
                     "attachments that consume %.80s: %lld; the pod asks for %lld",
                     network->resource, (long long)needed, (long long)asked);
    }
}

static void check_shared(struct attachments *all)
{
    for (size_t i = 0; i < all->count; i++) {
        const struct cni_network *network = all->list[i].network;
        if (network && network->carrier == CNI_CARRIES_SHARED &&
            !cni_pod_rdma_resource(all->check, all->pod->spec) &&
            !cni_resources_rdma(all->check, all->pod->resources))
            cni_find(all->check->findings, CNI_RULE_shared_device, all->annotation,
                     "%s brings a link without an RDMA device, and the pod asks for none",
                     network->name);
    }
}

/* Not attached a second time. */
static bool is_first(const struct attachments *all, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (all->list[i].network == all->list[index].network)
            return false;
    return all->list[index].network != NULL;
}

static void check_subnets(struct attachments *all, const struct cni_network *one,
                          const struct cni_network *two)
{
    if (one->routed && two->routed)
        return;
    for (uint32_t a = 0; a < one->subnet_count; a++)
        for (uint32_t b = 0; b < two->subnet_count; b++)
            if (cni_cidr_overlaps(&one->subnets[a].cidr, &two->subnets[b].cidr))
                cni_find(all->check->findings, CNI_RULE_rail_subnets, all->annotation,
                         "%s and %s share the subnet %s", one->name, two->name,
                         one->subnets[a].text);
    if (one->pool && two->pool && !one->subnet_count && strcmp(one->pool, two->pool) == 0)
        cni_find(all->check->findings, CNI_RULE_rail_subnets, all->annotation,
                 "%s and %s share the pool %s", one->name, two->name, one->pool);
}

void cni_check_pod_networks(struct cni_check *check, const struct cni_pod *pod)
{
    struct attachments all = {.check = check, .pod = pod};
    all.annotation = cni_get(cni_get(pod->metadata, "annotations"), "k8s.v1.cni.cncf.io/networks");
    if (!cni_text(all.annotation))
        return;
    parse(&all);
    find_networks(&all);
    if (!pod->patch || pod->resources) {
        check_devices(&all);
        check_shared(&all);
    }
    for (size_t i = 0; i < all.count; i++)
        for (size_t j = i + 1; j < all.count; j++)
            if (is_first(&all, i) && is_first(&all, j))
                check_subnets(&all, all.list[i].network, all.list[j].network);
}
