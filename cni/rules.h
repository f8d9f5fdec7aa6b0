/*
 * The rules: what can be wrong, why it matters, what cures it, and where it is documented.
 *
 * Invariant: ids are kebab-case and never change their meaning; rules.def lists each once.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_RULES_H
#define CNI_RULES_H

#include <stddef.h>

enum cni_severity { CNI_NOTE, CNI_WARNING, CNI_ERROR };

enum cni_rule_number {
#define RULE(name, id, severity, title, cause, fix, ref) CNI_RULE_##name,
#include "rules.def"
#undef RULE
    CNI_RULE_COUNT
};

struct cni_rule {
    const char *id;
    enum cni_severity severity;
    const char *title, *cause, *fix, *ref;
};

extern const struct cni_rule cni_rules[CNI_RULE_COUNT];

/* NULL when no rule has this id. */
const struct cni_rule *cni_rule_find(const char *id);
const char *cni_severity_name(enum cni_severity severity);

#endif
