/*
 * TCP connections of another process that end by a reset, as when a firewall or a switch that lost
 * its state sends one.
 *
 * Invariant: a process of ours is touched through descriptors borrowed from it; it does nothing for
 * it and is not stopped.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_MULTIPROC_RESETS_H
#define TESTS_MULTIPROC_RESETS_H

#include <stdint.h>
#include <sys/types.h>

/* Both ends of about half of the process's connections get ECONNRESET. Returns how many, or -1 if
 * this kernel or its rules do not lend descriptors. */
int resets_send(pid_t pid, uint64_t *random);

#endif
