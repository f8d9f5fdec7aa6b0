/*
 * JSON values as YAML text.
 *
 * Invariant: what is written reads back as the same value, with members in the same order; equal
 * values are written as equal bytes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_EMIT_H
#define CNI_EMIT_H

#include "arena.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* cni_emit_documents - each member of an array as a document; false when the stream failed. */
bool cni_emit_documents(const json_t *objects, FILE *out);

/* cni_emit_list - the same as JSON: one List of objects. */
bool cni_emit_list(const json_t *objects, FILE *out);

/* cni_emit_value - a value as indented JSON or as YAML; takes the reference. NULL is false, too. */
bool cni_emit_value(json_t *value, bool yaml, FILE *out);

/* cni_emit_entry - one entry of a mapping (`key`) or of a list (NULL) in lines of their own, that
 * begin at a column. Each ends with a newline. */
const char *cni_emit_entry(struct cni_arena *arena, const char *key, const json_t *value,
                           uint32_t column);

/* cni_emit_flow - for use inside brackets: JSON on one line; with a key, its `"key": value`. */
const char *cni_emit_flow(struct cni_arena *arena, const char *key, const json_t *value);

#endif
