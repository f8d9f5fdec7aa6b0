/*
 * What the decorators share: the transport below, and calls that are only passed on.
 *
 * Invariant: a decorator's struct shl_transport begins with struct hook, so that the shared
 * functions work for each of them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_HOOK_INTERNAL_H
#define SHL_HOOK_INTERNAL_H

#include "transport/hook/hook.h"

struct hook {
    const struct shl_transport_ops *inner_ops;
    struct shl_transport *inner;
};

/* open() has no argument that could say what to wrap; so each wrapped transport has a place, with
 * an open() of its own that knows the place's number. */
struct hook_place {
    struct shl_transport_ops ops;
    const struct shl_transport_ops *inner_ops; /* NULL: free */
};

typedef enum shoal_status (*hook_open_fn)(const struct shl_transport_env *env,
                                          struct shl_transport **t);

/* hook_place_take - the place of these operations, a new one unless they have one. */
enum shoal_status hook_place_take(struct hook_place *places, const struct shl_transport_ops *inner,
                                  size_t *index);

/* hook_ops_pass_on - operations that go straight to the transport below. close frees nothing but
 * that; open must be set by the decorator. */
void hook_ops_pass_on(struct shl_transport_ops *ops, const struct shl_transport_ops *inner);

#endif
