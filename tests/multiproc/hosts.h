/*
 * Hosts in one kernel: network namespaces with a router between them that can be made to lose, in
 * silence, whatever one host sends to another.
 *
 * Invariant: everything ends with the process; nothing is named outside of it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_MULTIPROC_HOSTS_H
#define TESTS_MULTIPROC_HOSTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HOSTS_MAX 16u

/* Moves the calling thread into the router's namespace, where jobs need no secret. False: not
 * allowed to make namespaces here. */
bool hosts_open(uint32_t count);
/* Moves the calling thread, in a child of whoever opened, into a host. */
void hosts_enter(uint32_t host);
void hosts_address(uint32_t host, char *address, size_t capacity);

/* What `from` sends to `to` is lost. */
void hosts_cut(uint32_t from, uint32_t to);
/* What anybody sends to it, and it to anybody. */
void hosts_cut_off(uint32_t host);
void hosts_heal(void); /* all that were cut */

#endif
