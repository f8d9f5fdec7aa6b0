/*
 * Memory of one run: what is read and found lives until the run ends, so nothing is freed singly.
 *
 * Invariant: an allocation never fails towards its caller. Readers bound what input may ask for;
 * when the machine itself has no memory left, the program says so and ends with status 1.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_ARENA_H
#define CNI_ARENA_H

#include <stddef.h>

struct cni_arena;

struct cni_arena *cni_arena_create(void);
void cni_arena_destroy(struct cni_arena *arena); /* NULL is legal */

/* Zeroed, aligned for any type. */
void *cni_arena_alloc(struct cni_arena *arena, size_t bytes);

/* A string of its own; `bytes` does not count the zero that is added. */
char *cni_arena_copy(struct cni_arena *arena, const void *text, size_t bytes);

char *cni_arena_format(struct cni_arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
