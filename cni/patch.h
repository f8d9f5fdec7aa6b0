/*
 * What pods of a plan need, put into a workload.
 *
 * Invariant: a second patch of what was patched changes nothing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_PATCH_H
#define CNI_PATCH_H

#include "edit.h"
#include "plan.h"

struct cni_patch {
    struct cni_arena *arena;
    const struct cni_plan *plan;
    struct cni_edits *edits;
    const struct cni_node *object;
    uint32_t containers; /* that were found and patched */
    json_t *advice;      /* texts: what the patch cannot do */
};

/* cni_patch_documents - the patched text of a file, or NULL: *where (or the file) and *why. */
const char *cni_patch_documents(struct cni_patch *patch, const struct cni_document *documents,
                                size_t bytes, size_t *patched_bytes);

/* ---- parts -------------------------------------------------------------------------------------
 */

/* What a pod template must hold for these containers: names, ended by NULL. json_decref it. */
json_t *cni_patch_template(struct cni_patch *patch, const struct cni_node *template,
                           const char *const *containers, bool environment);
/* For TrainJobs, which have no template. */
json_t *cni_patch_train(struct cni_patch *patch, const struct cni_node *object);
/* Shoal's variables that are not among `env`, a list of names and values or NULL. */
json_t *cni_patch_environment(const struct cni_patch *patch, const struct cni_node *env);

#endif
