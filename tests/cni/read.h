/*
 * Manifests in a test: read, checked, reported.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_CNI_READ_H
#define TESTS_CNI_READ_H

#include "check.h"
#include "source.h"
#include "support/test.h"

/* The whole of a stream; free it. NULL for a file that is not there. */
char *read_file(const char *path);

/* Documents of a text; the test fails when there is a problem. */
struct cni_document *read_yaml(struct cni_arena *arena, const char *text);

/* cni_yaml_read of a text must fail, on this line, and say this. */
void assert_yaml_refused(const char *text, uint32_t line, const char *part);

/* The quiet report of a file, checked against inventories: a list ended by NULL, or NULL. Free it.
 */
char *report_of(const char *path, const char *const *nodes);

/* The number of findings of a rule in what a text is checked to. */
uint32_t findings_of(const char *text, enum cni_rule_number rule);

#endif
