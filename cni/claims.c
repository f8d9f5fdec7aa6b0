/*
 * Claims of devices (resource.k8s.io, as DRANET takes them): containers against claims of the pod,
 * these against templates and their requests, and requests against device classes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <string.h>

static const struct cni_node *named(const struct cni_node *list, const char *name)
{
    CNI_EACH(entry, list)
    {
        if (name && cni_is(cni_get(entry, "name"), name))
            return entry;
    }
    return NULL;
}

/* An object of a kind; "" as the space: of any. */
static const struct cni_node *object_called(const struct cni_check *check, const char *kind,
                                            const char *name, const char *space)
{
    for (const struct cni_document *at = check->documents; at; at = at->next) {
        const char *own = cni_metadata_text(at->root, "namespace");
        if (cni_has_kind(at->root, kind) &&
            strcmp(cni_metadata_text(at->root, "name"), name) == 0 &&
            (!*space || strcmp(*own ? own : "default", space) == 0))
            return at->root;
    }
    return NULL;
}

/* ---- templates ---------------------------------------------------------------------------------
 */

static void check_class(struct cni_check *check, const struct cni_node *request)
{
    const struct cni_node *class = cni_get(request, "deviceClassName");
    if (cni_text(class) && !object_called(check, "DeviceClass", class->text, ""))
        cni_find(check->findings, CNI_RULE_claim_unknown, class,
                 "the device class %.80s is in none of the files", class->text);
}

static void check_request(struct cni_check *check, const struct cni_node *request)
{
    const struct cni_node *exactly = cni_get(request, "exactly");
    const struct cni_node *first = cni_get(request, "firstAvailable");
    const struct cni_node *count = cni_get(exactly, "count");
    if ((exactly != NULL) == (first != NULL))
        cni_find(check->findings, CNI_RULE_claim_request, request, "a request has %s",
                 exactly ? "both exactly and firstAvailable"
                         : "neither exactly nor firstAvailable");
    if (count && cni_is(cni_get(exactly, "allocationMode"), "All"))
        cni_find(check->findings, CNI_RULE_claim_request, count,
                 "allocationMode All takes every device, and no count");
    check_class(check, exactly);
    CNI_EACH(alternative, first)
    {
        check_class(check, alternative);
    }
}

/* What configurations and constraints are for must be among the requests. */
static void check_references(struct cni_check *check, const struct cni_node *devices,
                             const char *part)
{
    CNI_EACH(entry, cni_get(devices, part))
    {
        CNI_EACH(name, cni_get(entry, "requests"))
        {
            char request[128];
            snprintf(request, sizeof(request), "%.*s", (int)strcspn(name->text, "/"), name->text);
            if (!named(cni_get(devices, "requests"), request))
                cni_find(check->findings, CNI_RULE_claim_missing, name,
                         "no request is called %.80s", request);
        }
    }
}

static const struct cni_node *devices_of(const struct cni_node *object)
{
    bool template = cni_has_kind(object, "ResourceClaimTemplate");
    return cni_at(object, template ? "spec.spec.devices" : "spec.devices");
}

static void check_claim(struct cni_check *check, const struct cni_node *object)
{
    const struct cni_node *devices = devices_of(object);
    CNI_EACH(request, cni_get(devices, "requests"))
    {
        check_request(check, request);
    }
    check_references(check, devices, "config");
    check_references(check, devices, "constraints");
}

/* ---- pods --------------------------------------------------------------------------------------
 */

/* What a claim of a pod is made from, or NULL. */
static const struct cni_node *source_of(struct cni_check *check, const struct cni_pod *pod,
                                        const struct cni_node *claim, bool report)
{
    const char *space = *pod->space ? pod->space : "default";
    const struct cni_node *template = cni_get(claim, "resourceClaimTemplateName");
    const struct cni_node *name = template ? template : cni_get(claim, "resourceClaimName");
    if (!cni_text(name))
        return NULL;
    const struct cni_node *found = object_called(
        check, template ? "ResourceClaimTemplate" : "ResourceClaim", name->text, space);
    if (!found && report)
        cni_find(check->findings, CNI_RULE_claim_unknown, name,
                 "%.80s of namespace %.80s is in none of the files", name->text, space);
    return found;
}

static void check_container(struct cni_check *check, const struct cni_pod *pod,
                            const struct cni_node *container)
{
    CNI_EACH(claim, cni_at(container, "resources.claims"))
    {
        const struct cni_node *name = cni_get(claim, "name"), *request = cni_get(claim, "request");
        const struct cni_node *own = named(cni_get(pod->spec, "resourceClaims"), cni_text(name));
        if (!cni_text(name))
            continue; /* the schema has said so */
        if (!own && !pod->patch)
            cni_find(check->findings, CNI_RULE_claim_missing, name,
                     "the pod has no resourceClaims entry %.80s", name->text);
        const struct cni_node *source = own ? source_of(check, pod, own, false) : NULL;
        if (source && cni_text(request) &&
            !named(cni_get(devices_of(source), "requests"), request->text))
            cni_find(check->findings, CNI_RULE_claim_missing, request, "%.80s has no request %.80s",
                     cni_metadata_text(source, "name"), request->text);
    }
}

void cni_check_claims(struct cni_check *check)
{
    for (const struct cni_document *at = check->documents; at; at = at->next)
        if (cni_has_kind(at->root, "ResourceClaimTemplate") ||
            cni_has_kind(at->root, "ResourceClaim"))
            check_claim(check, at->root);
    for (const struct cni_pod *pod = check->pods; pod; pod = pod->next) {
        CNI_EACH(claim, cni_get(pod->spec, "resourceClaims"))
        {
            source_of(check, pod, claim, true);
        }
        CNI_EACH(container, cni_get(pod->spec, "containers"))
        {
            check_container(check, pod, container);
        }
    }
}
