/*
 * Values of CEL rules, for the evaluation in cel.c.
 *
 * Invariant: every value is a node or NULL, which stands for CEL's errors: absent fields and wrong
 * types.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_CEL_INTERNAL_H
#define CNI_CEL_INTERNAL_H

#include "cel.h"

/* What a name stands for; the innermost first. */
struct cni_cel_variable {
    const char *name;
    const struct cni_node *value;
    const struct cni_cel_variable *outer;
};

struct cni_cel {
    struct cni_arena *arena;
    const char *at;
    const struct cni_cel_variable *variables;
    unsigned int depth;
    bool unknown; /* something that is not understood here */
};

/* A list of the program keeps the nodes of the document as they are: behind pointers. */
struct cni_cel_list {
    size_t count;
    const struct cni_node *items[];
};

struct cni_node *cni_cel_make(struct cni_cel *cel, enum cni_kind kind);
const struct cni_node *cni_cel_boolean(bool truth);
const struct cni_node *cni_cel_integer(struct cni_cel *cel, int64_t number);

/* Whether it is this boolean. */
bool cni_cel_is_bool(const struct cni_node *of, bool truth);
bool cni_cel_is_present(const struct cni_node *of);
/* NULL: the two cannot be compared. */
const struct cni_node *cni_cel_equal(const struct cni_node *one, const struct cni_node *two);

/* NULL: it is no list, or one that is too long to be walked. */
struct cni_cel_list *cni_cel_list_of(struct cni_cel *cel, const struct cni_node *of);
/* A copy of an element, since a node is in one list only. */
void cni_cel_append(struct cni_cel *cel, struct cni_node *list, const struct cni_node *item);

const struct cni_node *cni_cel_size_of(struct cni_cel *cel, const struct cni_node *of);
/* matches, contains, startsWith and endsWith. */
const struct cni_node *cni_cel_on_text(struct cni_cel *cel, const char *name,
                                       const struct cni_node *text, const struct cni_node *part);
const struct cni_node *cni_cel_is_in(struct cni_cel *cel, const struct cni_node *one,
                                     const struct cni_node *of);
/* `deciding` decides alone, whatever the other side is: true for ||, false for &&. */
const struct cni_node *cni_cel_joined(const struct cni_node *one, const struct cni_node *two,
                                      bool deciding);

#endif
