/*
 * Findings as text, JSON and SARIF 2.1.0.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "findings.h"

#include "emit.h"

#include <shoal/version.h>

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define SARIF_SCHEMA "https://json.schemastore.org/sarif-2.1.0.json"

static const char *paint(bool colour, enum cni_severity severity)
{
    static const char *const codes[] = {"\033[36m", "\033[33m", "\033[31m"};
    return colour ? codes[severity] : "";
}

/* Control characters of a manifest never reach the terminal. */
static void put_text(const char *text, FILE *out)
{
    for (; *text; text++)
        putc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text, out);
}

static void print_finding(const struct cni_finding *finding, FILE *out,
                          const struct cni_report_options *options)
{
    const struct cni_rule *rule = finding->rule;
    put_text(finding->file, out);
    fprintf(out, ":%u: %s%s%s: ", finding->line, paint(options->colour, rule->severity),
            cni_severity_name(rule->severity), options->colour ? "\033[0m" : "");
    put_text(finding->message, out);
    fprintf(out, " [%s]\n", rule->id);
    if (options->quiet)
        return;
    if (*finding->path) {
        fputs("    path   ", out);
        put_text(finding->path, out);
        putc('\n', out);
    }
    fprintf(out, "    cause  %s\n    fix    %s\n    see    %s\n", rule->cause, rule->fix,
            rule->ref);
}

static void print_count(FILE *out, uint32_t count, const char *noun, const char *end)
{
    fprintf(out, "%u %s%s%s", count, noun, count == 1 ? "" : "s", end);
}

bool cni_report_text(const struct cni_findings *findings, FILE *out,
                     const struct cni_report_options *options)
{
    for (const struct cni_finding *finding = findings->first; finding; finding = finding->next)
        print_finding(finding, out, options);
    if (!options->quiet) {
        print_count(out, findings->by_severity[CNI_ERROR], "error", ", ");
        print_count(out, findings->by_severity[CNI_WARNING], "warning", ", ");
        print_count(out, findings->by_severity[CNI_NOTE], "note", " in ");
        print_count(out, findings->documents, "document", "\n");
        if (findings->omitted)
            fprintf(out, "%u more are not shown\n", findings->omitted);
    }
    return fflush(out) == 0 && !ferror(out);
}

/* jansson refuses what is no UTF-8; libyaml has let nothing else through. */
static json_t *text_of(const char *text)
{
    json_t *string = json_string(text);
    return string ? string : json_string("(not UTF-8)");
}

bool cni_report_data(const struct cni_findings *findings, bool yaml, FILE *out)
{
    json_t *list = json_array();
    for (const struct cni_finding *f = findings->first; f; f = f->next)
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:o, s:i, s:o, s:o, s:s, s:s, s:s}", "rule", f->rule->id,
                            "severity", cni_severity_name(f->rule->severity), "file",
                            text_of(f->file), "line", (int)f->line, "path", text_of(f->path),
                            "message", text_of(f->message), "cause", f->rule->cause, "fix",
                            f->rule->fix, "ref", f->rule->ref));
    return cni_emit_value(json_pack("{s:i, s:i, s:{s:i, s:i, s:i}, s:o}", "documents",
                                    (int)findings->documents, "omitted", (int)findings->omitted,
                                    "counts", "error", (int)findings->by_severity[CNI_ERROR],
                                    "warning", (int)findings->by_severity[CNI_WARNING], "note",
                                    (int)findings->by_severity[CNI_NOTE], "findings", list),
                          yaml, out);
}

/* Only rules that were broken. */
static json_t *sarif_rules(const struct cni_findings *findings, int *index)
{
    json_t *rules = json_array();
    for (int i = 0; i < CNI_RULE_COUNT; i++)
        index[i] = -1;
    for (const struct cni_finding *f = findings->first; f; f = f->next) {
        const struct cni_rule *rule = f->rule;
        if (index[rule - cni_rules] >= 0)
            continue;
        index[rule - cni_rules] = (int)json_array_size(rules);
        json_array_append_new(
            rules, json_pack("{s:s, s:s, s:{s:s}, s:{s:s}, s:{s:s}, s:{s:s}}", "id", rule->id,
                             "helpUri", rule->ref, "shortDescription", "text", rule->title,
                             "fullDescription", "text", rule->cause, "help", "text", rule->fix,
                             "defaultConfiguration", "level", cni_severity_name(rule->severity)));
    }
    return rules;
}

/* A path as a URI reference. */
static json_t *uri_of(const char *path)
{
    static const char plain[] = "-._~/!$&'()*+,;=@";
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (out && *path == '/')
        fputs("file://", out);
    for (; out && *path; path++)
        fprintf(out, isalnum((unsigned char)*path) || strchr(plain, *path) ? "%c" : "%%%02X",
                (unsigned char)*path);
    if (out)
        fclose(out);
    json_t *uri = json_string(text ? text : "");
    free(text);
    return uri;
}

bool cni_report_sarif(const struct cni_findings *findings, FILE *out)
{
    int index[CNI_RULE_COUNT];
    json_t *rules = sarif_rules(findings, index), *results = json_array();
    for (const struct cni_finding *f = findings->first; f; f = f->next)
        json_array_append_new(
            results,
            json_pack("{s:s, s:i, s:s, s:{s:o}, s:[{s:{s:{s:o}, s:{s:i}}, s:[{s:o}]}]}", "ruleId",
                      f->rule->id, "ruleIndex", index[f->rule - cni_rules], "level",
                      cni_severity_name(f->rule->severity), "message", "text", text_of(f->message),
                      "locations", "physicalLocation", "artifactLocation", "uri", uri_of(f->file),
                      "region", "startLine", f->line ? (int)f->line : 1, "logicalLocations",
                      "fullyQualifiedName", text_of(f->path)));
    return cni_emit_value(json_pack("{s:s, s:s, s:[{s:{s:{s:s, s:s, s:o}}, s:o}]}", "$schema",
                                    SARIF_SCHEMA, "version", "2.1.0", "runs", "tool", "driver",
                                    "name", "shoal-cni", "version", SHOAL_VERSION_STRING, "rules",
                                    rules, "results", results),
                          false, out);
}
