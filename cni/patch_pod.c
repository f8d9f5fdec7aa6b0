/*
 * Pods: attachments, devices, locked and shared memory, Shoal's variables.
 *
 * Invariant: what the author of the manifest has set already, and suffices, is not wanted again;
 * variables keep the author's value.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "patch.h"

#include <stdlib.h>
#include <string.h>

#define NETWORKS "k8s.v1.cni.cncf.io/networks"
#define SHM_VOLUME "dshm"
#define CLAIM "rails"

/* ---- attachments -------------------------------------------------------------------------------
 */

/* `space/name` where the attachment lies in another namespace than the pod. */
static const char *attachment_name(const struct cni_patch *patch, const char *name)
{
    const char *own = cni_text_at(patch->object, "metadata.namespace");
    const char *space = patch->plan->intent->space;
    if (own && strcmp(own, space) == 0)
        return name;
    return cni_arena_format(patch->arena, "%s/%s", space, name);
}

static bool is_word(const char *text, size_t length, const char *word)
{
    return strlen(word) == length && strncmp(text, word, length) == 0;
}

/* Whether `[space/]name` is an attachment of the plan; without its space it is the pod's. */
static bool refers(const struct cni_patch *patch, const char *text, size_t length, const char *name)
{
    const char *own = cni_text_at(patch->object, "metadata.namespace");
    const char *space = patch->plan->intent->space;
    bool near = strcmp(own ? own : "default", space) == 0;
    return is_word(text, length, cni_arena_format(patch->arena, "%s/%s", space, name)) ||
           (near && is_word(text, length, name));
}

/* How often a rail stands in a list between commas, whatever interface follows it. */
static int64_t occurrences(const struct cni_patch *patch, const char *text, const char *name)
{
    int64_t count = 0;
    while (text && *text) {
        text += strspn(text, " \t\n,");
        count += refers(patch, text, strcspn(text, " \t\n,@"), name);
        text += strcspn(text, ",");
    }
    return count;
}

static const char *extend_short(const struct cni_patch *patch, const char *text)
{
    const struct cni_plan *plan = patch->plan;
    for (uint32_t i = 0; i < plan->rail_count; i++) {
        const char *name = attachment_name(patch, plan->rails[i].name);
        for (int64_t have = occurrences(patch, text, plan->rails[i].name);
             have < plan->intent->vf_per_pod; have++)
            text = cni_arena_format(patch->arena, "%s%s%s", text, *text ? ", " : "", name);
    }
    return text;
}

/* The annotation in JSON gets objects of its own. */
static const char *extend_json(const struct cni_patch *patch, const char *text)
{
    const struct cni_plan *plan = patch->plan;
    json_t *list = json_loads(text, 0, NULL);
    bool grown = false;
    for (uint32_t i = 0; json_is_array(list) && i < plan->rail_count; i++) {
        const char *name = plan->rails[i].name, *space = plan->intent->space;
        json_t *entry;
        size_t index;
        int64_t have = 0;
        json_array_foreach(list, index, entry)
        {
            const char *other = json_string_value(json_object_get(entry, "name"));
            const char *of = json_string_value(json_object_get(entry, "namespace"));
            other = of && other ? cni_arena_format(patch->arena, "%s/%s", of, other) : other;
            have += other && refers(patch, other, strlen(other), name);
        }
        for (; have < plan->intent->vf_per_pod; have++, grown = true)
            json_array_append_new(list, json_pack("{s:s, s:s}", "name", name, "namespace", space));
    }
    char *dumped = grown ? json_dumps(list, 0) : NULL;
    const char *result = dumped ? cni_arena_copy(patch->arena, dumped, strlen(dumped)) : text;
    free(dumped);
    json_decref(list);
    return result;
}

static json_t *annotations(const struct cni_patch *patch, const struct cni_node *template)
{
    const char *text =
        cni_text(cni_get(cni_get(cni_get(template, "metadata"), "annotations"), NETWORKS));
    bool json = text && text[strspn(text, " \t\n")] == '[';
    return json_pack("{s:s}", NETWORKS,
                     json ? extend_json(patch, text) : extend_short(patch, text ? text : ""));
}

/* ---- devices -----------------------------------------------------------------------------------
 */

static bool suffices(const struct cni_node *list, const char *name, int64_t count)
{
    const struct cni_node *have = cni_get(list, name);
    return have && strtoll(have->text, NULL, 10) >= count;
}

/* Devices come by a claim of the pod, not by attachments and counted resources. */
static bool is_claimed(const struct cni_patch *patch)
{
    return patch->plan->stack == CNI_STACK_DRANET;
}

static json_t *resources(const struct cni_patch *patch, const struct cni_node *own)
{
    static const char *const lists[] = {"requests", "limits"};
    const struct cni_plan *plan = patch->plan;
    json_t *wanted = json_object();
    for (size_t i = 0; i < 2; i++) {
        json_t *list = json_object();
        for (uint32_t r = 0; r < plan->rail_count; r++)
            if (!suffices(cni_get(own, lists[i]), plan->rails[r].full, plan->intent->vf_per_pod))
                json_object_set_new(list, plan->rails[r].full,
                                    json_integer(plan->intent->vf_per_pod));
        if (json_object_size(list))
            json_object_set_new(wanted, lists[i], list);
        else
            json_decref(list);
    }
    return wanted;
}

/* ---- containers --------------------------------------------------------------------------------
 */

static const struct cni_node *named(const struct cni_node *list, const char *key, const char *value)
{
    CNI_EACH(entry, list)
    {
        if (cni_is(cni_get(entry, key), value))
            return entry;
    }
    return NULL;
}

static void put_variable(json_t *list, const struct cni_node *env, const char *name,
                         const char *value)
{
    if (!named(env, "name", name))
        json_array_append_new(list, json_pack("{s:s, s:s}", "name", name, "value", value));
}

json_t *cni_patch_environment(const struct cni_patch *patch, const struct cni_node *env)
{
    const struct cni_intent *intent = patch->plan->intent;
    json_t *list = json_array();
    put_variable(list, env, "SHOAL_TRANSPORT",
                 strcmp(intent->fallback, "deny") == 0 ? "shm,verbs" : "shm,tcp,verbs");
    if (intent->qos && !patch->plan->infiniband) {
        int64_t dscp = intent->dscp >= 0 ? intent->dscp : intent->priority * 8;
        put_variable(list, env, "SHOAL_IB_TRAFFIC_CLASS",
                     cni_arena_format(patch->arena, "%lld", (long long)dscp * 4));
    }
    return list;
}

static json_t *security(const struct cni_patch *patch)
{
    const struct cni_intent *intent = patch->plan->intent;
    json_t *context = json_object();
    if (intent->run_as_user >= 0)
        json_object_set_new(context, "runAsUser", json_integer(intent->run_as_user));
    if (intent->memlock)
        json_object_set_new(context, "capabilities", json_pack("{s:[s]}", "add", "IPC_LOCK"));
    return context;
}

static bool mounts_shm(const struct cni_node *container)
{
    return named(cni_get(container, "volumeMounts"), "mountPath", "/dev/shm") != NULL;
}

static void put_filled(json_t *object, const char *key, json_t *value)
{
    if (json_object_size(value) || json_array_size(value))
        json_object_set(object, key, value);
    json_decref(value);
}

/* `resources` and variables only where they are the container's own. */
static json_t *container_want(const struct cni_patch *patch, const struct cni_node *container,
                              const char *name, bool environment)
{
    json_t *want = json_pack("{s:s}", "name", name);
    if (environment)
        put_filled(want, "env", cni_patch_environment(patch, cni_get(container, "env")));
    put_filled(want, "securityContext", security(patch));
    if (container && is_claimed(patch))
        json_object_set_new(want, "resources", json_pack("{s:[{s:s}]}", "claims", "name", CLAIM));
    else if (container)
        put_filled(want, "resources", resources(patch, cni_get(container, "resources")));
    if (patch->plan->intent->shm && !mounts_shm(container))
        json_object_set_new(want, "volumeMounts",
                            json_pack("[{s:s, s:s}]", "name", SHM_VOLUME, "mountPath", "/dev/shm"));
    return want;
}

static json_t *shm_volume(const struct cni_patch *patch)
{
    return json_pack("[{s:s, s:{s:s, s:s}}]", "name", SHM_VOLUME, "emptyDir", "medium", "Memory",
                     "sizeLimit", patch->plan->intent->shm);
}

json_t *cni_patch_template(struct cni_patch *patch, const struct cni_node *template,
                           const char *const *containers, bool environment)
{
    const struct cni_node *spec = cni_get(template, "spec");
    json_t *list = json_array(), *pod = json_object();
    bool shm = false;
    for (; *containers; containers++, patch->containers++) {
        const struct cni_node *own = named(cni_get(spec, "containers"), "name", *containers);
        shm |= patch->plan->intent->shm &&
               (!mounts_shm(own) || named(cni_get(own, "volumeMounts"), "mountPath", "/dev/shm") ==
                                        named(cni_get(own, "volumeMounts"), "name", SHM_VOLUME));
        json_array_append_new(list, container_want(patch, own, *containers, environment));
    }
    json_object_set_new(pod, "containers", list);
    if (shm && !named(cni_get(spec, "volumes"), "name", SHM_VOLUME))
        json_object_set_new(pod, "volumes", shm_volume(patch));
    if (is_claimed(patch)) {
        json_object_set_new(pod, "resourceClaims",
                            json_pack("[{s:s, s:s}]", "name", CLAIM, "resourceClaimTemplateName",
                                      CNI_CLAIM_TEMPLATE));
        return json_pack("{s:o}", "spec", pod);
    }
    return json_pack("{s:{s:o}, s:o}", "metadata", "annotations", annotations(patch, template),
                     "spec", pod);
}

/* ---- TrainJob ----------------------------------------------------------------------------------
 */

json_t *cni_patch_train(struct cni_patch *patch, const struct cni_node *object)
{
    static const char *const node[] = {"node", NULL};
    const struct cni_node *trainer = cni_at(object, "spec.trainer");
    const struct cni_node *own = NULL, *jobs = NULL;
    CNI_EACH(entry, cni_at(object, "spec.runtimePatches"))
    {
        if (cni_is(cni_get(entry, "manager"), "shoal.dev/shoal-cni"))
            jobs = cni_at(entry, "trainingRuntimeSpec.template.spec.replicatedJobs");
    }
    own = cni_at(named(jobs, "name", "node"), "template.spec.template");
    json_t *template = cni_patch_template(patch, own, node, false), *container;
    size_t index;
    /* A patch of the runtime holds no resources; resourcesPerNode takes their place. */
    json_array_foreach(json_object_get(json_object_get(template, "spec"), "containers"), index,
                       container)
    {
        json_object_del(container, "resources");
    }
    if (is_claimed(patch)) /* nor claims */
        json_object_del(json_object_get(template, "spec"), "resourceClaims");
    json_t *job =
        json_pack("{s:s, s:{s:{s:o}}}", "name", "node", "template", "spec", "template", template);
    json_t *want = json_pack("{s:{s:{}, s:[{s:s, s:{s:{s:{s:[o]}}}}]}}", "spec", "trainer",
                             "runtimePatches", "manager", "shoal.dev/shoal-cni",
                             "trainingRuntimeSpec", "template", "spec", "replicatedJobs", job);
    json_t *fields = json_object_get(json_object_get(want, "spec"), "trainer");
    put_filled(fields, "env", cni_patch_environment(patch, cni_get(trainer, "env")));
    if (is_claimed(patch))
        json_array_append_new(patch->advice,
                              json_string("a TrainJob cannot claim devices: add to the template of "
                                          "its runtime resourceClaims with " CNI_CLAIM_TEMPLATE
                                          ", and to the container its claim"));
    else
        put_filled(fields, "resourcesPerNode",
                   resources(patch, cni_get(trainer, "resourcesPerNode")));
    if (!is_claimed(patch) && !cni_get(trainer, "resourcesPerNode"))
        json_array_append_new(
            patch->advice,
            json_string("resourcesPerNode replaces what the runtime asks for: repeat its GPUs and "
                        "memory there"));
    return want;
}
