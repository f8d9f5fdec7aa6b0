/*
 * Changing a YAML or JSON file where it stands: comments, order and layout of everything else stay.
 *
 * Invariant: edits are recorded against the text that was read and applied together; none overlap.
 * What a merge wants and the file already has makes no edit.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_EDIT_H
#define CNI_EDIT_H

#include "node.h"

#include <jansson.h>

struct cni_edit {
    size_t offset, removed;
    const char *text;
    struct cni_edit *next;
};

struct cni_edits {
    struct cni_arena *arena;
    const char *content;
    struct cni_edit *first, **tail;
    const struct cni_node *refused; /* the first that could not be changed, and why */
    const char *reason;
};

void cni_edits_init(struct cni_edits *edits, struct cni_arena *arena, const char *content);

/* cni_edits_merge - make `map` hold all that `want`, an object, holds: members are added or their
 * scalars replaced; entries of lists are found by mountPath, manager or name, texts by themselves,
 * and added at the end. */
void cni_edits_merge(struct cni_edits *edits, const struct cni_node *map, const json_t *want);

/* cni_edits_insert_after - entries of an array behind an entry of a list. */
void cni_edits_insert_after(struct cni_edits *edits, const struct cni_node *entry,
                            const json_t *values);

/* cni_edits_apply - the changed text; *bytes without its closing zero. */
const char *cni_edits_apply(const struct cni_edits *edits, size_t content_bytes, size_t *bytes);

#endif
