/*
 * The table of rules.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "rules.h"

#include <string.h>

const struct cni_rule cni_rules[CNI_RULE_COUNT] = {
#define RULE(name, id, severity, title, cause, fix, ref)                                           \
    [CNI_RULE_##name] = {id, CNI_##severity, title, cause, fix, ref},
#include "rules.def"
#undef RULE
};

const struct cni_rule *cni_rule_find(const char *id)
{
    for (size_t i = 0; i < CNI_RULE_COUNT; i++)
        if (strcmp(cni_rules[i].id, id) == 0)
            return &cni_rules[i];
    return NULL;
}

const char *cni_severity_name(enum cni_severity severity)
{
    static const char *const names[] = {"note", "warning", "error"};
    return names[severity];
}
