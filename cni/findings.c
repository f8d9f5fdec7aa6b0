/*
 * Collecting and ordering findings.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "findings.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_BYTES 600

static void add(struct cni_findings *findings, const struct cni_finding *finding)
{
    if (findings->count >= CNI_FINDINGS_MAX) {
        findings->omitted++;
        findings->by_severity[finding->rule->severity]++;
        return;
    }
    for (const struct cni_finding *other = findings->first; other; other = other->next)
        if (other->rule == finding->rule && other->line == finding->line &&
            strcmp(other->message, finding->message) == 0 &&
            strcmp(other->path, finding->path) == 0 && strcmp(other->file, finding->file) == 0)
            return;
    struct cni_finding *kept = cni_arena_alloc(findings->arena, sizeof(*kept));
    *kept = *finding;
    kept->number = findings->count++;
    kept->next = findings->first;
    findings->first = kept;
    findings->by_severity[kept->rule->severity]++;
}

void cni_find(struct cni_findings *findings, enum cni_rule_number rule, const struct cni_node *node,
              const char *format, ...)
{
    char message[MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    add(findings, &(struct cni_finding){
                      .rule = &cni_rules[rule],
                      .file = node->document->file,
                      .line = node->line,
                      .path = cni_node_path(findings->arena, node),
                      .message = cni_arena_copy(findings->arena, message, strlen(message))});
}

void cni_find_at(struct cni_findings *findings, enum cni_rule_number rule, const char *file,
                 uint32_t line, const char *text)
{
    add(findings,
        &(struct cni_finding){.rule = &cni_rules[rule],
                              .file = file,
                              .line = line,
                              .path = "",
                              .message = cni_arena_copy(findings->arena, text, strlen(text))});
}

static int compare(const void *a, const void *b)
{
    const struct cni_finding *one = *(struct cni_finding *const *)a;
    const struct cni_finding *two = *(struct cni_finding *const *)b;
    int order = strcmp(one->file, two->file);
    if (order)
        return order;
    if (one->line != two->line)
        return one->line < two->line ? -1 : 1;
    return one->number < two->number ? -1 : 1;
}

void cni_findings_sort(struct cni_findings *findings)
{
    size_t count = 0;
    struct cni_finding **array =
        cni_arena_alloc(findings->arena, (findings->count + 1) * sizeof(*array));
    for (struct cni_finding *finding = findings->first; finding; finding = finding->next)
        array[count++] = finding;
    qsort(array, count, sizeof(*array), compare);
    for (size_t i = 0; i < count; i++)
        array[i]->next = array[i + 1]; /* the last is followed by NULL */
    findings->first = array[0];
}

void cni_findings_drop_below(struct cni_findings *findings, enum cni_severity severity)
{
    for (struct cni_finding **at = &findings->first; *at;) {
        if ((*at)->rule->severity < severity)
            *at = (*at)->next;
        else
            at = &(*at)->next;
    }
}
