/*
 * What was found, in the order of files and lines.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_FINDINGS_H
#define CNI_FINDINGS_H

#include "node.h"
#include "rules.h"

#include <stdio.h>

#define CNI_FINDINGS_MAX 2000u

struct cni_finding {
    const struct cni_rule *rule;
    const char *file, *path, *message;
    uint32_t line, number; /* number: of its discovery */
    struct cni_finding *next;
};

struct cni_findings {
    struct cni_arena *arena;
    struct cni_finding *first;
    uint32_t count, documents;
    uint32_t omitted; /* beyond CNI_FINDINGS_MAX; counted by severity all the same */
    uint32_t by_severity[3];
};

/* cni_find - record that a rule is broken at a node. The same rule is recorded once a node. */
void cni_find(struct cni_findings *findings, enum cni_rule_number rule, const struct cni_node *node,
              const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Where no tree is. */
void cni_find_at(struct cni_findings *findings, enum cni_rule_number rule, const char *file,
                 uint32_t line, const char *text);

/* cni_findings_drop_below - leave out those of less weight; they stay counted. */
void cni_findings_drop_below(struct cni_findings *findings, enum cni_severity severity);

void cni_findings_sort(struct cni_findings *findings);

/* ---- reports: each false when the stream failed ------------------------------------------- */

struct cni_report_options {
    bool colour;
    bool quiet; /* one line a finding */
};

bool cni_report_text(const struct cni_findings *findings, FILE *out,
                     const struct cni_report_options *options);
bool cni_report_data(const struct cni_findings *findings, bool yaml, FILE *out); /* else JSON */
bool cni_report_sarif(const struct cni_findings *findings, FILE *out);

#endif
