/*
 * `shoal-cni explain`.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "commands.h"
#include "doctor.h"
#include "emit.h"
#include "rules.h"

#include "core/suggest.h"

#include <getopt.h>

static const char usage[] =
    "usage: shoal-cni explain [OPTION]... [RULE]...\n"
    "\n"
    "Says what a rule of validate or a check of doctor finds, why it matters,\n"
    "what cures it and where it is documented. Without RULE, lists all.\n"
    "\n"
    "  -o, --output KIND   text (default), json, yaml\n"
    "  -q, --quiet         titles only\n"
    "      --color WHEN    auto, always, never: this output has no colours\n"
    "  -h, --help          print this\n"
    "\n"
    "Example: shoal-cni explain ipoib-master\n";

static void unknown(const char *id)
{
    const char *ids[CNI_RULE_COUNT + CNI_CHECK_COUNT + 1] = {NULL};
    for (size_t i = 0; i < CNI_RULE_COUNT; i++)
        ids[i] = cni_rules[i].id;
    for (size_t i = 0; i < CNI_CHECK_COUNT; i++)
        ids[CNI_RULE_COUNT + i] = cni_doctor_checks[i].id;
    cni_complain_unknown("rule or check", id, shl_suggest(id, ids),
                         "`shoal-cni explain` lists them");
}

static json_t *rule_json(const struct cni_rule *rule)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "rule", rule->id, "severity",
                     cni_severity_name(rule->severity), "title", rule->title, "cause", rule->cause,
                     "fix", rule->fix, "ref", rule->ref);
}

static json_t *check_json(const struct cni_doctor_check *check)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "check", check->id, "title", check->title, "why",
                     check->why, "fix", check->fix, "ref", check->ref);
}

/* One list, of what was asked for or of everything; false: a name is unknown. */
static bool gather(json_t *list, char **ids, int count)
{
    bool good = true;
    for (int i = 0; i < count; i++) {
        const struct cni_rule *rule = cni_rule_find(ids[i]);
        const struct cni_doctor_check *check = cni_doctor_check_find(ids[i]);
        if (rule || check)
            json_array_append_new(list, check ? check_json(check) : rule_json(rule));
        else
            unknown(ids[i]);
        good &= rule || check;
    }
    for (size_t i = 0; !count && i < CNI_RULE_COUNT; i++)
        json_array_append_new(list, rule_json(&cni_rules[i]));
    for (size_t i = 0; !count && i < CNI_CHECK_COUNT; i++)
        json_array_append_new(list, check_json(&cni_doctor_checks[i]));
    return good;
}

static void print_one(const json_t *entry)
{
    static const char *const rows[] = {"cause", "why", "fix"};
    const char *rule = json_string_value(json_object_get(entry, "rule"));
    const char *severity = json_string_value(json_object_get(entry, "severity"));
    printf("%s (%s): %s\n", rule ? rule : json_string_value(json_object_get(entry, "check")),
           severity ? severity : "a check of doctor",
           json_string_value(json_object_get(entry, "title")));
    for (size_t i = 0; i < 3; i++) {
        const char *text = json_string_value(json_object_get(entry, rows[i]));
        if (text)
            printf("  %-6s %s\n", rows[i], text);
    }
    printf("  see    %s\n", json_string_value(json_object_get(entry, "ref")));
}

static void print_row(const json_t *entry)
{
    const char *rule = json_string_value(json_object_get(entry, "rule"));
    const char *severity = json_string_value(json_object_get(entry, "severity"));
    printf("%-24s %-8s %s\n", rule ? rule : json_string_value(json_object_get(entry, "check")),
           severity ? severity : "doctor", json_string_value(json_object_get(entry, "title")));
}

int cni_command_explain(int argc, char **argv)
{
    struct cni_options options = {
        .usage = usage, .formats = CNI_FORMATS_REPORT, .format = CNI_FORMAT_TEXT};
    int status = cni_options_parse(&options, argc, argv);
    if (status >= 0)
        return status;
    bool text = options.format == CNI_FORMAT_TEXT;
    json_t *list = json_array(), *entry;
    size_t index;
    bool known = gather(list, argv + optind, argc - optind), printed;
    json_array_foreach(list, index, entry)
    {
        if (text)
            (optind < argc && !options.quiet ? print_one : print_row)(entry);
    }
    if (text) {
        json_decref(list);
        printed = fflush(stdout) == 0;
    } else {
        printed = cni_emit_value(list, options.format == CNI_FORMAT_YAML, stdout);
    }
    return !printed ? CNI_EXIT_INTERNAL : known ? CNI_EXIT_CLEAN : CNI_EXIT_USAGE;
}
