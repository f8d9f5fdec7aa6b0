/*
 * The table of schemas, for those that read it: checking and printing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_SCHEMA_INTERNAL_H
#define CNI_SCHEMA_INTERNAL_H

#include "schema.h"

struct cni_schemas {
    struct cni_node *kinds;
    struct cni_node **shared;
    uint32_t shared_count;
};

/* What a reference stands for. */
const struct cni_node *cni_schema_resolve(const struct cni_schemas *schemas,
                                          const struct cni_node *schema);
/* NULL: none. `api`: group/version; NULL: the first of this kind. */
const struct cni_node *cni_schema_find(const struct cni_schemas *schemas, const char *api,
                                       const char *kind);

#endif
