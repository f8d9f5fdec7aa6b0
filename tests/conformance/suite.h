/*
 * The tests of the conformance suite, grouped by what of the contract they hold a transport to.
 *
 * A test is a function of (adapter, seed); the suite calls it for each of the adapter's seeds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CONFORMANCE_SUITE_H
#define CONFORMANCE_SUITE_H

#include "conformance/world.h"

struct conformance_test {
    const char *name;
    void (*run)(const struct conformance_adapter *adapter, uint64_t seed);
};

/* Each ends with an entry without a name. */
extern const struct conformance_test conformance_transfer_tests[];
extern const struct conformance_test conformance_signature_tests[];
extern const struct conformance_test conformance_cancel_tests[];
extern const struct conformance_test conformance_memory_tests[];
extern const struct conformance_test conformance_wait_tests[];

#endif
