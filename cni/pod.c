/*
 * One pod: resources, locked memory, shared memory, settings that differ between nodes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <stdlib.h>
#include <string.h>

static bool is_extended(const char *name)
{
    const char *slash = strchr(name, '/');
    return slash && strncmp(name, "kubernetes.io/", 14) != 0 && strncmp(name, "requests.", 9) != 0;
}

static const char *after_slash(const char *name)
{
    const char *slash = strchr(name, '/');
    return slash ? slash + 1 : name;
}

/* Resources that bring RDMA devices, by what device plugins are usually told to call them. */
static bool names_rdma(const char *name)
{
    static const char *const words[] = {"rdma",  "hca",     "roce", "mlnx",
                                        "sriov", "hostdev", "_ib",  "/rail"};
    if (!is_extended(name) || strstr(name, "/gpu") || strstr(name, "/mig-"))
        return false;
    if (strncmp(name, "rdma/", 5) == 0 || strncmp(name, "vpc.amazonaws.com/efa", 21) == 0)
        return true;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strstr(name, words[i]))
            return true;
    return false;
}

static const struct cni_node *limit_of(const struct cni_node *container)
{
    const struct cni_node *limits = cni_at(container, "resources.limits");
    return limits ? limits : cni_at(container, "resources.requests");
}

static bool is_offered_rdma(const struct cni_offers *offers, const char *name)
{
    for (size_t i = 0; is_extended(name) && i < offers->count; i++)
        if (offers->rdma[i] && strcmp(offers->names[i], after_slash(name)) == 0)
            return true;
    return false;
}

const struct cni_node *cni_resources_rdma(const struct cni_check *check,
                                          const struct cni_node *resources)
{
    const struct cni_node *limits = cni_get(resources, "limits");
    CNI_EACH(entry, limits ? limits : cni_get(resources, "requests"))
    {
        if (names_rdma(entry->key) || is_offered_rdma(&check->offers, entry->key))
            return entry;
    }
    return NULL;
}

static int64_t count_in(const struct cni_node *list, const char *name, bool any_prefix)
{
    int64_t count = 0;
    CNI_EACH(entry, list)
    {
        if (is_extended(entry->key) &&
            strcmp(any_prefix ? after_slash(entry->key) : entry->key, name) == 0)
            count += strtol(entry->text, NULL, 10);
    }
    return count;
}

int64_t cni_pod_resource_count(const struct cni_pod *pod, const char *name, bool any_prefix)
{
    const struct cni_node *elsewhere = cni_get(pod->resources, "limits");
    int64_t count =
        count_in(elsewhere ? elsewhere : cni_get(pod->resources, "requests"), name, any_prefix);
    CNI_EACH(container, cni_get(pod->spec, "containers"))
    {
        count += count_in(limit_of(container), name, any_prefix);
    }
    return count;
}

const struct cni_node *cni_pod_rdma_resource(const struct cni_check *check,
                                             const struct cni_node *spec)
{
    CNI_EACH(container, cni_get(spec, "containers"))
    {
        const struct cni_node *entry = cni_resources_rdma(check, cni_get(container, "resources"));
        if (entry)
            return entry;
    }
    return NULL;
}

/* ---- resources ------------------------------------------------------------------------------- */

static bool is_whole(const struct cni_node *value)
{
    return (value->kind == CNI_INT && value->integer >= 0) ||
           (*value->text && strspn(value->text, "0123456789") == strlen(value->text));
}

static void check_resources(struct cni_check *check, const struct cni_node *container)
{
    const struct cni_node *limits = cni_at(container, "resources.limits");
    const struct cni_node *requests = cni_at(container, "resources.requests");
    CNI_EACH(entry, limits)
    {
        if (is_extended(entry->key) && !is_whole(entry))
            cni_find(check->findings, CNI_RULE_resource_count, entry,
                     "%.80s is counted in whole devices, not %.20s", entry->key, entry->text);
    }
    CNI_EACH(entry, requests)
    {
        const struct cni_node *limit = cni_get(limits, entry->key);
        if (!is_extended(entry->key))
            continue;
        if (!limit)
            cni_find(check->findings, CNI_RULE_resource_count, entry,
                     "%.80s is requested without a limit", entry->key);
        else if (strtol(limit->text, NULL, 10) != strtol(entry->text, NULL, 10))
            cni_find(check->findings, CNI_RULE_resource_count, entry,
                     "%.80s: request %.20s and limit %.20s differ", entry->key, entry->text,
                     limit->text);
    }
}

static void check_efa(struct cni_check *check, const struct cni_node *container)
{
    const struct cni_node *limits = cni_at(container, "resources.limits");
    const struct cni_node *efa = cni_get(limits, "vpc.amazonaws.com/efa");
    if (efa && !cni_get(limits, "hugepages-2Mi"))
        cni_find(check->findings, CNI_RULE_efa_hugepages, efa, "EFA without hugepages-2Mi");
}

/* ---- locked and shared memory ------------------------------------------------------------------
 */

static bool adds_capability(const struct cni_node *container, const char *name)
{
    CNI_EACH(capability, cni_at(container, "securityContext.capabilities.add"))
    {
        if (strcmp(capability->text, name) == 0 || strcmp(capability->text, "ALL") == 0)
            return true;
    }
    return false;
}

static bool is_privileged(const struct cni_node *container)
{
    const struct cni_node *flag = cni_at(container, "securityContext.privileged");
    return flag && flag->kind == CNI_BOOL && flag->integer;
}

/* Of the container, or else of the pod. */
static const struct cni_node *security_of(const struct cni_node *spec,
                                          const struct cni_node *container, const char *key)
{
    const struct cni_node *own = cni_get(cni_get(container, "securityContext"), key);
    return own ? own : cni_get(cni_get(spec, "securityContext"), key);
}

static bool is_set(const struct cni_node *spec, const struct cni_node *container, const char *key)
{
    const struct cni_node *flag = security_of(spec, container, key);
    return flag && flag->kind == CNI_BOOL && flag->integer;
}

static void check_memlock(struct cni_check *check, const struct cni_node *spec,
                          const struct cni_node *container, const struct cni_node *resource)
{
    const struct cni_node *user = security_of(spec, container, "runAsUser");
    bool locks = adds_capability(container, "IPC_LOCK");
    if (!locks && !is_privileged(container))
        cni_find(check->findings, CNI_RULE_memlock, container,
                 "a container has %.80s but not the capability IPC_LOCK", resource->key);
    else if (locks && user && user->kind == CNI_INT && user->integer != 0)
        cni_find(check->findings, CNI_RULE_memlock_user, user,
                 "IPC_LOCK has no effect for user %lld", (long long)user->integer);
    else if (locks && !user && is_set(spec, container, "runAsNonRoot"))
        cni_find(check->findings, CNI_RULE_memlock_user, container,
                 "IPC_LOCK has no effect for users that runAsNonRoot admits");
}

/* The volume at /dev/shm is in memory. */
static bool has_shm(const struct cni_node *spec, const struct cni_node *container)
{
    CNI_EACH(mount, cni_get(container, "volumeMounts"))
    {
        if (!cni_is(cni_get(mount, "mountPath"), "/dev/shm"))
            continue;
        CNI_EACH(volume, cni_get(spec, "volumes"))
        {
            if (cni_text_at(mount, "name") &&
                cni_is(cni_get(volume, "name"), cni_text_at(mount, "name")))
                return cni_is(cni_at(volume, "emptyDir.medium"), "Memory") ||
                       cni_get(volume, "hostPath");
        }
    }
    const struct cni_node *host = cni_get(spec, "hostIPC");
    return host && host->integer;
}

static const struct cni_node *gpu_of(const struct cni_node *container)
{
    CNI_EACH(entry, limit_of(container))
    {
        if (strstr(entry->key, "/gpu") || strstr(entry->key, "/mig-"))
            return entry;
    }
    return NULL;
}

/* Not "auto" or -1, which leave the choice to the program. */
static bool names_index(const struct cni_node *variable)
{
    const struct cni_node *value = cni_get(variable, "value");
    return !value || strspn(value->text, "0123456789");
}

static void check_environment(struct cni_check *check, const struct cni_node *container)
{
    static const char *const names[] = {"NCCL_IB_GID_INDEX", "SHOAL_IB_GID_INDEX",
                                        "UCX_IB_GID_INDEX", "RCCL_IB_GID_INDEX"};
    CNI_EACH(variable, cni_get(container, "env"))
    {
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
            if (cni_is(cni_get(variable, "name"), names[i]) && names_index(variable))
                cni_find(check->findings, CNI_RULE_gid_index, variable,
                         "%s fixes an index of a table that differs from node to node", names[i]);
    }
}

/* ---- Pod Security
 * -------------------------------------------------------------------------------- */

static void check_security(struct cni_check *check, const struct cni_pod *pod,
                           const struct cni_node *container)
{
    for (const struct cni_document *at = check->documents; at; at = at->next) {
        if (!cni_has_kind(at->root, "Namespace") ||
            strcmp(cni_metadata_text(at->root, "name"), *pod->space ? pod->space : "default") != 0)
            continue;
        const struct cni_node *level =
            cni_get(cni_at(at->root, "metadata.labels"), "pod-security.kubernetes.io/enforce");
        bool refuses = cni_is(level, "baseline") || cni_is(level, "restricted");
        if (refuses && (adds_capability(container, "IPC_LOCK") || is_privileged(container)))
            cni_find(check->findings, CNI_RULE_pod_security, cni_at(container, "securityContext"),
                     "the namespace enforces \"%s\", which refuses IPC_LOCK", level->text);
    }
}

void cni_check_pod(struct cni_check *check, const struct cni_pod *pod)
{
    CNI_EACH(container, cni_get(pod->spec, "containers"))
    {
        const struct cni_node *resource =
            cni_resources_rdma(check, cni_get(container, "resources"));
        check_resources(check, container);
        check_efa(check, container);
        check_environment(check, container);
        check_security(check, pod, container);
        if (resource)
            check_memlock(check, pod->spec, container, resource);
        if (resource && gpu_of(container) && !has_shm(pod->spec, container))
            cni_find(check->findings, CNI_RULE_shm_small, container,
                     "a container with GPUs has the 64 MB of /dev/shm that runtimes give");
    }
}
