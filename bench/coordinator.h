/*
 * A coordinator of its own for a bench of elastic worlds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_BENCH_COORDINATOR_H
#define SHL_BENCH_COORDINATOR_H

#include <stddef.h>
#include <sys/types.h>

/* Start `shoal coordinator` without a journal on a loopback port; `store` receives its address. The
 * caller kills it; it dies with the caller's thread. -1: it did not start. */
pid_t bench_start_coordinator(const char *shoal, char *store, size_t store_bytes);

#endif
