/*
 * Workloads: the pods that each kind starts, and the traps of its launcher.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include "core/suggest.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static void add_pod(struct cni_check *check, const struct cni_node *object,
                    const struct cni_node *template, const char *role)
{
    const struct cni_node *spec = cni_get(template, "spec");
    if (!spec || spec->kind != CNI_MAP)
        return;
    struct cni_pod *pod = cni_arena_alloc(check->arena, sizeof(*pod));
    const char *kind = cni_text_at(object, "kind");
    *pod = (struct cni_pod){.metadata = cni_get(template, "metadata"),
                            .spec = spec,
                            .space = cni_metadata_text(object, "namespace"),
                            .owner = kind ? kind : "",
                            .role = role};
    *check->pods_tail = pod;
    check->pods_tail = &pod->next;
}

static const struct cni_node *container_called(const struct cni_node *spec, const char *name)
{
    CNI_EACH(container, cni_get(spec, "containers"))
    {
        if (cni_is(cni_get(container, "name"), name))
            return container;
    }
    return NULL;
}

/* Operators find the container that trains by its name. */
static void check_container(struct cni_check *check, const struct cni_node *template,
                            const char *name)
{
    const struct cni_node *spec = cni_get(template, "spec");
    const struct cni_node *containers = cni_get(spec, "containers");
    if (containers && !container_called(spec, name))
        cni_find(check->findings, CNI_RULE_container_name, containers, "no container is called %s",
                 name);
}

/* Replicas of one kind of job: how its operator finds them. */
struct replicas {
    const char *path;
    const char *container; /* that trains, or NULL when any name will do */
    bool any_case;         /* the operator spells roles itself before it looks at them */
    const char *roles[6];  /* ended by NULL */
};

/* The role as the operator spells it; what stands there after a finding. */
static const char *check_role(struct cni_check *check, const struct cni_node *replica,
                              const struct replicas *replicas)
{
    const char *const *roles = replicas->roles;
    int (*compare)(const char *, const char *) = replicas->any_case ? strcasecmp : strcmp;
    for (const char *const *role = roles; *role; role++)
        if (replica->key && compare(*role, replica->key) == 0)
            return *role;
    const char *near = replica->key ? shl_suggest(replica->key, roles) : NULL;
    cni_find(check->findings, CNI_RULE_replica_role, replica,
             "the operator knows no replicas %.60s%s%s%s", replica->key ? replica->key : "",
             near ? ", did you mean " : "", near ? near : "", near ? "?" : "");
    return replica->key ? replica->key : "";
}

static void add_replicas(struct cni_check *check, const struct cni_node *object,
                         const struct replicas *replicas)
{
    CNI_EACH(replica, cni_at(object, replicas->path))
    {
        const char *role = check_role(check, replica, replicas);
        const struct cni_node *template = cni_get(replica, "template");
        add_pod(check, object, template, role);
        if (replicas->container)
            check_container(check, template, replicas->container);
    }
}

static void add_jobs(struct cni_check *check, const struct cni_node *object, const char *path,
                     bool runtime)
{
    CNI_EACH(job, cni_at(object, path))
    {
        const char *name = cni_text_at(job, "name");
        const struct cni_node *template = cni_at(job, "template.spec.template");
        add_pod(check, object, template, name ? name : "");
        if (runtime && name && strcmp(name, "node") == 0)
            check_container(check, template, "node");
    }
}

/* ---- MPIJob ---------------------------------------------------------------------------------- */

static bool is_word_start(const char *text, const char *at)
{
    return at == text || isspace((unsigned char)at[-1]);
}

/* The number behind `-np` or `-n` in a text of several words; 0 when there is none. */
static long ranks_in_text(const char *text)
{
    static const char *const options[] = {"-np ", "-n ", "--np ", "--n "};
    for (size_t i = 0; i < 4; i++)
        for (const char *at = text; (at = strstr(at, options[i])) != NULL; at++) {
            long ranks = strtol(at + strlen(options[i]), NULL, 10);
            if (is_word_start(text, at) && ranks > 0 && strstr(text, "mpi"))
                return ranks;
        }
    return 0;
}

/* What the launcher's mpirun is told to start; 0 when unknown. */
static long ranks_started(const struct cni_node *container, const struct cni_node **where)
{
    static const char *const lists[] = {"command", "args"};
    for (size_t i = 0; i < 2; i++)
        CNI_EACH(word, cni_get(container, lists[i]))
        {
            const char *dash = word->text + (strncmp(word->text, "--", 2) == 0);
            bool option = strcmp(dash, "-np") == 0 || strcmp(dash, "-n") == 0;
            const struct cni_node *number = option ? word->next : word;
            long ranks =
                option && number ? strtol(number->text, NULL, 10) : ranks_in_text(word->text);
            if (ranks > 0) {
                *where = number;
                return ranks;
            }
        }
    return 0;
}

static int64_t integer_at(const struct cni_node *object, const char *path, int64_t otherwise)
{
    const struct cni_node *node = cni_at(object, path);
    return node && node->kind == CNI_INT ? node->integer : otherwise;
}

static const struct cni_node *networks_of(const struct cni_node *template)
{
    return cni_get(cni_at(template, "metadata.annotations"), "k8s.v1.cni.cncf.io/networks");
}

static void check_mpi(struct cni_check *check, const struct cni_node *object)
{
    const struct cni_node *launcher = cni_at(object, "spec.mpiReplicaSpecs.Launcher.template");
    const struct cni_node *worker = cni_at(object, "spec.mpiReplicaSpecs.Worker.template");
    const struct cni_node *as_worker = cni_at(object, "spec.runLauncherAsWorker");
    bool both = as_worker && as_worker->integer;
    int64_t slots = integer_at(object, "spec.slotsPerWorker", 1);
    int64_t hosts = integer_at(object, "spec.mpiReplicaSpecs.Worker.replicas", 0) + both;
    CNI_EACH(container, cni_at(launcher, "spec.containers"))
    {
        const struct cni_node *where = NULL;
        long ranks = ranks_started(container, &where);
        if (ranks && hosts && slots > 0 && hosts < 1000000 && slots < 1000000 &&
            ranks != hosts * slots)
            cni_find(check->findings, CNI_RULE_launcher_ranks, where,
                     "mpirun starts %ld ranks; %lld hosts with %lld slots have room for %lld",
                     ranks, (long long)hosts, (long long)slots, (long long)(hosts * slots));
    }
    if (networks_of(launcher) && worker && !networks_of(worker))
        cni_find(check->findings, CNI_RULE_launcher_only, networks_of(launcher),
                 "only the Launcher is attached; ranks run in the Workers");
}

/* ---- other launchers ------------------------------------------------------------------------- */

static void check_pytorch(struct cni_check *check, const struct cni_node *object)
{
    const struct cni_node *elastic = cni_at(object, "spec.elasticPolicy");
    const struct cni_node *master = cni_at(object, "spec.pytorchReplicaSpecs.Master");
    if (elastic && !master)
        cni_find(check->findings, CNI_RULE_elastic_env, elastic,
                 "without a Master there are no RANK, WORLD_SIZE and MASTER_ADDR, only PET_...");
    const struct cni_node *count = cni_at(object, "spec.nprocPerNode");
    if (count && strcmp(count->text, "1") != 0)
        cni_find(check->findings, CNI_RULE_node_rank, count,
                 "with nprocPerNode %.20s WORLD_SIZE counts processes, but RANK is a node's",
                 count->text);
}

static const struct cni_node *runtime_of(const struct cni_check *check,
                                         const struct cni_node *object)
{
    const char *name = cni_text_at(object, "spec.runtimeRef.name");
    for (const struct cni_document *at = check->documents; name && at; at = at->next)
        if ((cni_has_kind(at->root, "TrainingRuntime") ||
             cni_has_kind(at->root, "ClusterTrainingRuntime")) &&
            strcmp(cni_metadata_text(at->root, "name"), name) == 0)
            return at->root;
    return NULL;
}

/* Patches of the runtime's pods, whose devices are asked for in resourcesPerNode. */
static void add_patches(struct cni_check *check, const struct cni_node *object,
                        const struct cni_node *resources)
{
    CNI_EACH(patch, cni_at(object, "spec.runtimePatches"))
    {
        CNI_EACH(job, cni_at(patch, "trainingRuntimeSpec.template.spec.replicatedJobs"))
        {
            struct cni_pod **added = check->pods_tail;
            add_pod(check, object, cni_at(job, "template.spec.template"), "");
            if (*added) {
                (*added)->patch = true;
                (*added)->resources = resources;
            }
        }
    }
}

static void check_train(struct cni_check *check, const struct cni_node *object)
{
    const struct cni_node *own = cni_at(object, "spec.trainer.resourcesPerNode");
    add_patches(check, object, own);
    if (!own || cni_resources_rdma(check, own))
        return;
    CNI_EACH(job, cni_at(runtime_of(check, object), "spec.template.spec.replicatedJobs"))
    {
        const struct cni_node *spec = cni_at(job, "template.spec.template.spec");
        const struct cni_node *lost = cni_pod_rdma_resource(check, spec);
        if (lost)
            cni_find(check->findings, CNI_RULE_trainjob_resources, own,
                     "resourcesPerNode replaces the runtime's resources: %.80s is lost", lost->key);
    }
}

void cni_check_workload(struct cni_check *check, const struct cni_node *object)
{
    static const char *const templated[] = {"Job",         "Deployment", "DaemonSet",
                                            "StatefulSet", "ReplicaSet", "ReplicationController"};
    static const struct replicas mpi = {
        "spec.mpiReplicaSpecs", NULL, false, {"Launcher", "Worker"}};
    static const struct replicas pytorch = {
        "spec.pytorchReplicaSpecs", "pytorch", false, {"Master", "Worker"}};
    static const struct replicas tensorflow = {"spec.tfReplicaSpecs",
                                               "tensorflow",
                                               true,
                                               {"Chief", "Master", "PS", "Worker", "Evaluator"}};
    if (cni_has_kind(object, "Pod"))
        add_pod(check, object, object, "");
    for (size_t i = 0; i < sizeof(templated) / sizeof(templated[0]); i++)
        if (cni_has_kind(object, templated[i]))
            add_pod(check, object, cni_at(object, "spec.template"), "");
    if (cni_has_kind(object, "CronJob"))
        add_pod(check, object, cni_at(object, "spec.jobTemplate.spec.template"), "");
    if (cni_has_kind(object, "MPIJob")) {
        add_replicas(check, object, &mpi);
        check_mpi(check, object);
    } else if (cni_has_kind(object, "PyTorchJob")) {
        add_replicas(check, object, &pytorch);
        check_pytorch(check, object);
    } else if (cni_has_kind(object, "TFJob")) {
        add_replicas(check, object, &tensorflow);
    } else if (cni_has_kind(object, "JobSet")) {
        add_jobs(check, object, "spec.replicatedJobs", false);
    } else if (cni_has_kind(object, "TrainingRuntime") ||
               cni_has_kind(object, "ClusterTrainingRuntime")) {
        add_jobs(check, object, "spec.template.spec.replicatedJobs", true);
    } else if (cni_has_kind(object, "TrainJob")) {
        check_train(check, object);
    }
}
