/*
 * Observations as text and as JSON.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "doctor.h"

#include "emit.h"

static const char *word_of(const struct cni_observation *at)
{
    return at->good ? "ok" : cni_severity_name(at->severity);
}

static void put_text(const char *text, FILE *out)
{
    for (; *text; text++)
        putc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text, out);
}

bool cni_doctor_text(const struct cni_doctor *doctor, FILE *out, bool colour, bool quiet)
{
    static const char *const codes[] = {"\033[36m", "\033[33m", "\033[31m"};
    for (const struct cni_observation *at = doctor->first; at; at = at->next) {
        const char *paint = at->good ? "\033[32m" : codes[at->severity];
        if (at->good && quiet)
            continue;
        fprintf(out, "%s%-8s%s %-14s ", colour ? paint : "", word_of(at), colour ? "\033[0m" : "",
                at->check->id);
        put_text(at->seen, out);
        putc('\n', out);
        if (!at->good && !quiet)
            fprintf(out, "    why  %s\n    fix  %s\n    see  %s\n", at->check->why, at->check->fix,
                    at->check->ref);
    }
    if (!quiet)
        fprintf(out, "%u error%s, %u warning%s\n", doctor->by_severity[CNI_ERROR],
                doctor->by_severity[CNI_ERROR] == 1 ? "" : "s", doctor->by_severity[CNI_WARNING],
                doctor->by_severity[CNI_WARNING] == 1 ? "" : "s");
    return fflush(out) == 0 && !ferror(out);
}

bool cni_doctor_data(const struct cni_doctor *doctor, bool yaml, FILE *out)
{
    json_t *list = json_array();
    for (const struct cni_observation *at = doctor->first; at; at = at->next) {
        json_t *seen = json_string(at->seen);
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:o, s:s, s:s, s:s}", "check",
                                              at->check->id, "verdict", word_of(at), "title",
                                              at->check->title, "seen", seen ? seen : json_null(),
                                              "why", at->check->why, "fix", at->check->fix, "ref",
                                              at->check->ref));
    }
    json_t *root = json_pack("{s:s, s:s, s:{s:i, s:i}, s:o}", "schema", "shoal.dev/doctor/v1alpha1",
                             "place", doctor->pod ? "pod" : "node", "counts", "error",
                             (int)doctor->by_severity[CNI_ERROR], "warning",
                             (int)doctor->by_severity[CNI_WARNING], "observations", list);
    return cni_emit_value(root, yaml, out);
}
