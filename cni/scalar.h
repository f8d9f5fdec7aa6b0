/*
 * What a plain scalar is: nothing, a boolean, a number or a text.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_SCALAR_H
#define CNI_SCALAR_H

#include "node.h"

/* cni_scalar_resolve - set kind and integer from text, as Kubernetes reads YAML. */
void cni_scalar_resolve(struct cni_node *node);

/* The same for a number of JSON; false when it is none. */
bool cni_scalar_number(struct cni_node *node);

#endif
