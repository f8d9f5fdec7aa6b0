/*
 * Names of resources: what pods ask for and attachments consume must be what some policy or device
 * plugin offers.
 *
 * Invariant: nothing is found unless something is offered among the files: else all of it is in the
 * cluster.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include "core/suggest.h"

#include <string.h>

#define OFFERS_MAX 64

struct offers {
    const char *names[OFFERS_MAX + 1]; /* without prefix, ended by NULL */
    size_t count;
};

static const char *after_slash(const char *name)
{
    const char *slash = strchr(name, '/');
    return slash ? slash + 1 : name;
}

static void offer(struct offers *offers, const char *name)
{
    if (name && offers->count < OFFERS_MAX)
        offers->names[offers->count++] = name;
}

static void from_text(struct cni_check *check, struct offers *offers, const struct cni_node *text)
{
    if (!cni_text(text) ||
        (!strstr(text->text, "resourceList") && !strstr(text->text, "configList")))
        return;
    struct cni_node copy = *text, *root;
    struct cni_problem problem;
    if (!cni_json_read_text(check->arena, &copy, &root, &problem))
        return; /* said already */
    const struct cni_node *shared = cni_get_nocase(root, "configList");
    CNI_EACH(entry, shared ? shared : cni_get_nocase(root, "resourceList"))
    {
        offer(offers, cni_text(cni_get_nocase(entry, "resourceName")));
    }
}

static void gather(struct cni_check *check, struct offers *offers)
{
    for (const struct cni_document *at = check->documents; at; at = at->next) {
        if (cni_has_kind(at->root, "SriovNetworkNodePolicy"))
            offer(offers, cni_text_at(at->root, "spec.resourceName"));
        if (cni_has_kind(at->root, "ConfigMap"))
            CNI_EACH(entry, cni_get(at->root, "data"))
            {
                from_text(check, offers, entry);
            }
        if (cni_has_kind(at->root, "NicClusterPolicy")) {
            from_text(check, offers, cni_at(at->root, "spec.sriovDevicePlugin.config"));
            from_text(check, offers, cni_at(at->root, "spec.rdmaSharedDevicePlugin.config"));
        }
    }
}

static void check_name(struct cni_check *check, struct offers *offers, const char *full,
                       const struct cni_node *where)
{
    const char *name = after_slash(full);
    for (size_t i = 0; i < offers->count; i++)
        if (strcmp(offers->names[i], name) == 0)
            return;
    const char *near = shl_suggest(name, offers->names);
    cni_find(check->findings, CNI_RULE_resource_unknown, where, "%.80s is not offered here%s%s%s",
             full, near ? ", did you mean " : "", near ? near : "", near ? "?" : "");
}

void cni_check_resources(struct cni_check *check)
{
    struct offers offers = {.count = 0};
    gather(check, &offers);
    if (!offers.count)
        return;
    for (const struct cni_network *at = check->networks; at; at = at->next)
        if (at->resource)
            check_name(check, &offers, at->resource, at->where);
    for (const struct cni_pod *pod = check->pods; pod; pod = pod->next) {
        CNI_EACH(container, cni_get(pod->spec, "containers"))
        {
            const struct cni_node *entry = cni_resources_rdma(cni_get(container, "resources"));
            if (entry && strncmp(entry->key, "vpc.amazonaws.com/", 18) != 0)
                check_name(check, &offers, entry->key, entry);
        }
    }
}
