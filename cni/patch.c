/*
 * Which templates and containers of a workload train, by its kind.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "patch.h"

#include "check.h"

#include <string.h>
#include <strings.h>

#define NAMES_MAX 64

static bool is_among(const struct cni_node *list, const char *word)
{
    CNI_EACH(entry, list)
    {
        if (cni_is(entry, word))
            return true;
    }
    return false;
}

/* The containers of a template: those that the intent names, else the one that the operator trains
 * in, else the first. */
static size_t choose(const struct cni_patch *patch, const struct cni_node *template,
                     const char *usual, const char *names[NAMES_MAX + 1])
{
    const struct cni_node *containers = cni_at(template, "spec.containers");
    const struct cni_node *wanted = patch->plan->intent->containers;
    size_t count = 0;
    CNI_EACH(container, containers)
    {
        const char *name = cni_text_at(container, "name");
        bool chosen = name && (wanted  ? is_among(wanted, name)
                               : usual ? strcmp(name, usual) == 0
                                       : container == containers->first);
        if (chosen && count < NAMES_MAX)
            names[count++] = name;
    }
    names[count] = NULL;
    return count;
}

static void patch_template(struct cni_patch *patch, const struct cni_node *template,
                           const char *usual, bool environment)
{
    const char *names[NAMES_MAX + 1];
    if (!template || template->kind != CNI_MAP || !choose(patch, template, usual, names))
        return;
    json_t *want = cni_patch_template(patch, template, names, environment);
    cni_edits_merge(patch->edits, template, want);
    json_decref(want);
}

/* `apart`: do not take part in the training unless the intent says so; in any case, as the operator
 * reads them. */
static void patch_replicas(struct cni_patch *patch, const char *path, const char *usual,
                           const char *apart)
{
    const struct cni_node *wanted = patch->plan->intent->replicas;
    CNI_EACH(replica, cni_at(patch->object, path))
    {
        bool chosen = wanted ? is_among(wanted, replica->key)
                             : !apart || strcasecmp(replica->key, apart) != 0;
        if (chosen)
            patch_template(patch, cni_get(replica, "template"), usual, true);
    }
}

static void patch_jobs(struct cni_patch *patch, const char *path, const char *usual)
{
    const struct cni_node *wanted = patch->plan->intent->replicas;
    CNI_EACH(job, cni_at(patch->object, path))
    {
        const char *name = cni_text_at(job, "name");
        if (!wanted || (name && is_among(wanted, name)))
            patch_template(patch, cni_at(job, "template.spec.template"), usual, true);
    }
}

/* ---- MPIJob ------------------------------------------------------------------------------------
 */

/* The word mpirun in a launcher's command; NULL: none stands by itself. */
static const struct cni_node *find_mpirun(const struct cni_node *template)
{
    static const char *const lists[] = {"command", "args"};
    CNI_EACH(container, cni_at(template, "spec.containers"))
    {
        for (size_t i = 0; i < 2; i++)
            CNI_EACH(word, cni_get(container, lists[i]))
            {
                if (cni_is(word, "mpirun"))
                    return word;
            }
    }
    return NULL;
}

/* Whether some -x passes a variable on. */
static bool passes(const struct cni_node *template, const char *name)
{
    static const char *const lists[] = {"command", "args"};
    size_t length = strlen(name);
    CNI_EACH(container, cni_at(template, "spec.containers"))
    {
        for (size_t i = 0; i < 2; i++)
            CNI_EACH(word, cni_get(container, lists[i]))
            {
                if (strncmp(word->text, name, length) == 0 &&
                    (word->text[length] == '=' || !word->text[length]))
                    return true;
            }
    }
    return false;
}

/* Ranks start over ssh, and do not see the environment of the container that they run in. */
static bool pass_environment(struct cni_patch *patch, const struct cni_node *launcher)
{
    const struct cni_node *mpirun = find_mpirun(launcher);
    json_t *variables = cni_patch_environment(patch, NULL), *words = json_array(), *variable;
    size_t index;
    json_array_foreach(variables, index, variable)
    {
        const char *name = json_string_value(json_object_get(variable, "name"));
        const char *value = json_string_value(json_object_get(variable, "value"));
        if (passes(launcher, name))
            continue;
        json_array_append_new(words, json_string("-x"));
        json_array_append_new(words, json_sprintf("%s=%s", name, value));
    }
    if (mpirun && json_array_size(words))
        cni_edits_insert_after(patch->edits, mpirun, words);
    else if (json_array_size(words))
        json_array_append_new(
            patch->advice, json_string("no mpirun stands by itself in the Launcher's command: pass "
                                       "the Worker's SHOAL_ variables on to the ranks, which start "
                                       "over ssh and do not inherit them"));
    json_decref(words);
    json_decref(variables);
    return mpirun != NULL;
}

static void patch_mpi(struct cni_patch *patch)
{
    const struct cni_node *launcher =
        cni_at(patch->object, "spec.mpiReplicaSpecs.Launcher.template");
    const struct cni_node *both = cni_at(patch->object, "spec.runLauncherAsWorker");
    bool passed = launcher && pass_environment(patch, launcher);
    if (both && both->integer)
        patch_template(patch, launcher, NULL, !passed);
    patch_template(patch, cni_at(patch->object, "spec.mpiReplicaSpecs.Worker.template"), NULL,
                   !passed);
}

/* ---- objects -----------------------------------------------------------------------------------
 */

static void patch_object(struct cni_patch *patch, const struct cni_node *object)
{
    const char *kind = cni_text_at(object, "kind"), *only = patch->plan->intent->workload_kind;
    patch->object = object;
    if (!kind || (only && strcmp(kind, only) != 0))
        return;
    if (strcmp(kind, "MPIJob") == 0) {
        patch_mpi(patch);
    } else if (strcmp(kind, "PyTorchJob") == 0) {
        patch_replicas(patch, "spec.pytorchReplicaSpecs", "pytorch", NULL);
    } else if (strcmp(kind, "TFJob") == 0) {
        patch_replicas(patch, "spec.tfReplicaSpecs", "tensorflow", "Evaluator");
    } else if (strcmp(kind, "TrainJob") == 0) {
        json_t *want = cni_patch_train(patch, object);
        cni_edits_merge(patch->edits, object, want);
        json_decref(want);
    } else if (strcmp(kind, "TrainingRuntime") == 0 ||
               strcmp(kind, "ClusterTrainingRuntime") == 0) {
        patch_jobs(patch, "spec.template.spec.replicatedJobs", "node");
    } else if (strcmp(kind, "JobSet") == 0) {
        patch_jobs(patch, "spec.replicatedJobs", NULL);
    } else if (strcmp(kind, "Job") == 0) {
        patch_template(patch, cni_at(object, "spec.template"), NULL, true);
    } else if (strcmp(kind, "Pod") == 0) {
        patch_template(patch, object, NULL, true);
    }
}

const char *cni_patch_documents(struct cni_patch *patch, const struct cni_document *documents,
                                size_t bytes, size_t *patched_bytes)
{
    patch->containers = 0;
    for (const struct cni_document *at = documents; at; at = at->next)
        patch_object(patch, at->root);
    return cni_edits_apply(patch->edits, bytes, patched_bytes);
}
