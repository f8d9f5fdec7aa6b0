/*
 * OpenAPI schemas of the kinds that Shoal's pods meet, with closed objects: what the API server
 * would drop without a word is an error here.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_SCHEMA_H
#define CNI_SCHEMA_H

#include "findings.h"

#include <jansson.h>

struct cni_schemas;

/* The schemas that are built in. */
struct cni_schemas *cni_schemas_load(struct cni_arena *arena);

/* cni_schema_check - a Kubernetes object against the schema of its kind. */
void cni_schema_check(const struct cni_schemas *schemas, struct cni_findings *findings,
                      const struct cni_node *object);

/* cni_schema_json - a schema as JSON Schema; json_decref it. NULL: there is none. `api` is
 * group/version, or NULL: the first of this kind. */
json_t *cni_schema_json(const struct cni_schemas *schemas, const char *api, const char *kind);

/* cni_schemas_each - group, version and kind of all that are built in. */
void cni_schemas_each(const struct cni_schemas *schemas,
                      void (*visit)(void *user, const char *group, const char *version,
                                    const char *kind),
                      void *user);

#endif
