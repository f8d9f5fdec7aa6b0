/*
 * What differs between two sets of documents, whatever the order of their keys and their layout.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_DIFF_H
#define CNI_DIFF_H

#include "node.h"

#include <stdio.h>

struct cni_change {
    const char *object;               /* kind and name, or the number of the document */
    const char *path;                 /* "" for the whole object */
    const struct cni_node *old, *new; /* NULL: not there */
    struct cni_change *next;
};

/* cni_diff - changes in the order of the old documents, then what is only in the new ones. Objects
 * are matched by kind, namespace and name; entries of lists by `name` where all have one. */
const struct cni_change *cni_diff(struct cni_arena *arena, const struct cni_document *old,
                                  const struct cni_document *new);

/* Each false when the stream failed. */
bool cni_diff_text(const struct cni_change *changes, FILE *out);
bool cni_diff_data(const struct cni_change *changes, bool yaml, FILE *out); /* else JSON */

#endif
