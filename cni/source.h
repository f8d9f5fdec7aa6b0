/*
 * Files as documents.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_SOURCE_H
#define CNI_SOURCE_H

#include "findings.h"

/*
 * cni_source_read - append the documents of a file to a list; of a folder, those of its *.yaml,
 * *.yml, *.json, *.conf and *.conflist in the order of their names; of "-", of standard input.
 * False when something could not be read: *error says what, unless a finding does (syntax).
 */
bool cni_source_read(struct cni_findings *findings, const char *path,
                     struct cni_document **documents, const char **error);

/* cni_source_content - the bytes of a file, or of standard input ("-"), with a zero behind them;
 * NULL: see *error. */
const char *cni_source_content(struct cni_arena *arena, const char *path, size_t *bytes,
                               const char **error);

/* cni_source_read_inventory - append what `inspect` printed into a file to a list. False: see
 * *error. */
bool cni_source_read_inventory(struct cni_findings *findings, const char *path,
                               struct cni_document **nodes, const char **error);

#endif
