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

static const char *after_slash(const char *name)
{
    const char *slash = strchr(name, '/');
    return slash ? slash + 1 : name;
}

static bool is_true(const struct cni_node *node)
{
    return node && node->kind == CNI_BOOL && node->integer;
}

static void offer(struct cni_offers *offers, const char *name, bool rdma)
{
    if (!name || offers->count == CNI_OFFERS_MAX)
        return;
    offers->rdma[offers->count] = rdma;
    offers->names[offers->count++] = name;
}

static bool selects_rdma(const struct cni_node *selectors)
{
    if (!selectors || selectors->kind != CNI_LIST)
        return is_true(cni_get_nocase(selectors, "isRdma"));
    CNI_EACH(one, selectors)
    {
        if (is_true(cni_get_nocase(one, "isRdma")))
            return true;
    }
    return false;
}

static void from_text(struct cni_check *check, const struct cni_node *text)
{
    if (!cni_text(text) ||
        (!strstr(text->text, "resourceList") && !strstr(text->text, "configList")))
        return;
    struct cni_node copy = *text, *root;
    struct cni_problem problem;
    if (!cni_json_read_text(check->arena, &copy, &root, &problem))
        return; /* found when the text is checked */
    const struct cni_node *shared = cni_get_nocase(root, "configList");
    if (shared && !check->offers.shared_plugin)
        check->offers.shared_plugin = text;
    CNI_EACH(entry, shared ? shared : cni_get_nocase(root, "resourceList"))
    {
        offer(&check->offers, cni_text(cni_get_nocase(entry, "resourceName")),
              shared || selects_rdma(cni_get_nocase(entry, "selectors")));
    }
}

void cni_check_gather_offers(struct cni_check *check)
{
    for (const struct cni_document *at = check->documents; at; at = at->next) {
        if (cni_has_kind(at->root, "SriovNetworkNodePolicy"))
            offer(&check->offers, cni_text_at(at->root, "spec.resourceName"),
                  is_true(cni_at(at->root, "spec.isRdma")));
        if (cni_has_kind(at->root, "ConfigMap"))
            CNI_EACH(entry, cni_get(at->root, "data"))
            {
                from_text(check, entry);
            }
        if (cni_has_kind(at->root, "NicClusterPolicy")) {
            from_text(check, cni_at(at->root, "spec.sriovDevicePlugin.config"));
            from_text(check, cni_at(at->root, "spec.rdmaSharedDevicePlugin.config"));
        }
    }
}

static void check_name(struct cni_check *check, const struct cni_offers *offers, const char *full,
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
    const struct cni_offers *offers = &check->offers;
    if (!offers->count)
        return;
    for (const struct cni_network *at = check->networks; at; at = at->next)
        if (at->resource)
            check_name(check, offers, at->resource, at->where);
    for (const struct cni_pod *pod = check->pods; pod; pod = pod->next) {
        CNI_EACH(container, cni_get(pod->spec, "containers"))
        {
            const struct cni_node *entry =
                cni_resources_rdma(check, cni_get(container, "resources"));
            if (entry && strncmp(entry->key, "vpc.amazonaws.com/", 18) != 0)
                check_name(check, offers, entry->key, entry);
        }
    }
}
