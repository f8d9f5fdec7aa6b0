/*
 * Running all rules over all documents.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"
#include "intent.h"

bool cni_has_kind(const struct cni_node *object, const char *kind)
{
    return cni_is(cni_get(object, "kind"), kind);
}

const char *cni_metadata_text(const struct cni_node *object, const char *key)
{
    const char *text = cni_text(cni_get(cni_get(object, "metadata"), key));
    return text ? text : "";
}

struct cni_network *cni_check_add_network(struct cni_check *check, const struct cni_node *object)
{
    struct cni_network *network = cni_arena_alloc(check->arena, sizeof(*network));
    const struct cni_node *name = cni_at(object, "metadata.name");
    network->where = name ? name : object;
    network->name = cni_metadata_text(object, "name");
    network->space = "";
    *check->networks_tail = network;
    check->networks_tail = &network->next;
    return network;
}

struct cni_node *cni_check_json(struct cni_check *check, struct cni_node *scalar)
{
    struct cni_node *root;
    struct cni_problem problem;
    if (cni_json_read_text(check->arena, scalar, &root, &problem))
        return root;
    struct cni_node at = *scalar;
    at.line = problem.line;
    cni_find(check->findings, CNI_RULE_json_syntax, &at, "%s", problem.text);
    return NULL;
}

static bool is_bare_config(const struct cni_node *root)
{
    return root->kind == CNI_MAP && !cni_get(root, "kind") && !cni_get(root, "apiVersion") &&
           (cni_get(root, "type") || cni_get(root, "plugins") || cni_get(root, "cniVersion"));
}

static void check_object(struct cni_check *check, struct cni_node *object)
{
    static const char *const networks[] = {"HostDeviceNetwork", "MacvlanNetwork", "IPoIBNetwork",
                                           "SriovNetwork", "SriovIBNetwork"};
    uint32_t errors = check->findings->by_severity[CNI_ERROR];
    struct cni_intent intent;
    cni_schema_check(check->schemas, check->findings, object);
    if (cni_intent_is(object) && errors == check->findings->by_severity[CNI_ERROR])
        cni_intent_read(check->findings, object, &intent);
    if (cni_has_kind(object, "NetworkAttachmentDefinition"))
        cni_check_attachment(check, object);
    for (size_t i = 0; i < sizeof(networks) / sizeof(networks[0]); i++)
        if (cni_has_kind(object, networks[i]))
            cni_check_operator_network(check, object);
    if (cni_has_kind(object, "IPPool") || cni_has_kind(object, "CIDRPool"))
        cni_check_pools(check, object);
    if (cni_has_kind(object, "ConfigMap") || cni_has_kind(object, "NicClusterPolicy"))
        cni_check_device_plugins(check, object);
    cni_check_policy(check, object);
    cni_check_workload(check, object);
}

static void check_document(struct cni_check *check, struct cni_node *root)
{
    if (is_bare_config(root)) {
        cni_check_bare_config(check, root);
    } else if (root->kind != CNI_MAP || !cni_text_at(root, "kind") ||
               !cni_text_at(root, "apiVersion")) {
        cni_find(check->findings, CNI_RULE_not_object, root,
                 "no Kubernetes object (apiVersion and kind), and no CNI configuration");
    } else {
        check_object(check, root);
    }
}

void cni_documents_expand(struct cni_arena *arena, struct cni_document **documents)
{
    for (struct cni_document **at = documents; *at;) {
        struct cni_document *list = *at, *rest = list->next;
        const struct cni_node *items = cni_get(list->root, "items");
        if (!cni_has_kind(list->root, "List") || !items || items->kind != CNI_LIST) {
            at = &list->next;
            continue;
        }
        *at = rest;
        CNI_EACH(item, items)
        {
            struct cni_document *document = cni_arena_alloc(arena, sizeof(*document));
            *document = (struct cni_document){
                .file = list->file, .content = list->content, .root = item, .next = rest};
            *at = document;
            at = &document->next;
        }
    }
}

void cni_check_documents(struct cni_findings *findings, struct cni_document *documents,
                         const struct cni_document *nodes)
{
    struct cni_check check = {.arena = findings->arena,
                              .findings = findings,
                              .schemas = cni_schemas_load(findings->arena),
                              .documents = documents,
                              .nodes = nodes};
    check.networks_tail = &check.networks;
    check.pods_tail = &check.pods;
    cni_documents_expand(check.arena, &check.documents);
    cni_check_gather_offers(&check);
    for (struct cni_document *at = check.documents; at; at = at->next, findings->documents++)
        check_document(&check, at->root);
    cni_check_pool_networks(&check);
    cni_check_resources(&check);
    cni_check_claims(&check);
    for (const struct cni_pod *pod = check.pods; pod; pod = pod->next) {
        cni_check_pod(&check, pod);
        cni_check_pod_networks(&check, pod);
    }
    cni_check_modes(&check);
    cni_check_nodes(&check);
    cni_check_policies_together(&check);
    cni_findings_sort(findings);
}
