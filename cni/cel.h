/*
 * Rules of CRDs (x-kubernetes-validations), in the part of CEL that they use: literals, lists,
 * fields, `self`, has(), size(), matches(), startsWith(), endsWith(), contains(), all(), exists(),
 * filter(), `in`, comparisons, `!`, `&&` and `||`.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_CEL_H
#define CNI_CEL_H

#include "node.h"

enum cni_cel_verdict {
    CNI_CEL_HOLDS,
    CNI_CEL_BROKEN,
    CNI_CEL_UNKNOWN, /* it says more than this part, or looks for what is not there */
};

/* cni_cel_check - whether a rule holds for a value of a document. */
enum cni_cel_verdict cni_cel_check(struct cni_arena *arena, const char *rule,
                                   const struct cni_node *self);

#endif
