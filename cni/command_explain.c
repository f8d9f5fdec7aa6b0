/*
 * `shoal-cni explain`.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "commands.h"
#include "doctor.h"
#include "rules.h"

#include <getopt.h>

static const char usage[] =
    "usage: shoal-cni explain [RULE]...\n"
    "\n"
    "Says what a rule finds, why it matters, what cures it and where it is\n"
    "documented. Without RULE, lists all rules.\n"
    "\n"
    "  --help   print this\n"
    "\n"
    "Example: shoal-cni explain ipoib-master\n";

static int explain(const char *id)
{
    const char *near = NULL;
    const struct cni_rule *rule = cni_rule_find(id, &near);
    const struct cni_doctor_check *check = cni_doctor_check_find(id);
    if (check) {
        printf("%s (a check of doctor): %s\n  why    %s\n  fix    %s\n  see    %s\n", check->id,
               check->title, check->why, check->fix, check->ref);
        return CNI_EXIT_CLEAN;
    }
    if (!rule) {
        cni_complain("no rule %s%s%s%s; `shoal-cni explain` lists them", id,
                     near ? ", did you mean " : "", near ? near : "", near ? "?" : "");
        return CNI_EXIT_USAGE;
    }
    printf("%s (%s): %s\n  cause  %s\n  fix    %s\n  see    %s\n", rule->id,
           cni_severity_name(rule->severity), rule->title, rule->cause, rule->fix, rule->ref);
    return CNI_EXIT_CLEAN;
}

int cni_command_explain(int argc, char **argv)
{
    static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    int status = CNI_EXIT_CLEAN;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option != 'h')
            return CNI_EXIT_USAGE;
        fputs(usage, stdout);
        return CNI_EXIT_CLEAN;
    }
    for (int i = optind; i < argc; i++) {
        int one = explain(argv[i]);
        status = one ? one : status;
    }
    for (size_t i = 0; optind == argc && i < CNI_RULE_COUNT; i++)
        printf("%-24s %-8s %s\n", cni_rules[i].id, cni_severity_name(cni_rules[i].severity),
               cni_rules[i].title);
    for (size_t i = 0; optind == argc && i < CNI_CHECK_COUNT; i++)
        printf("%-24s %-8s %s\n", cni_doctor_checks[i].id, "doctor", cni_doctor_checks[i].title);
    return fflush(stdout) == 0 ? status : CNI_EXIT_INTERNAL;
}
