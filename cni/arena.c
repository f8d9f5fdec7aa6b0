/*
 * Blocks in a list, filled from the front.
 *
 * Invariant: the head of the list is the block that has room; larger requests get a block of their
 * own behind it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES (64u << 10)
#define ALIGNMENT _Alignof(max_align_t)

struct block {
    struct block *next;
    max_align_t data[];
};

struct cni_arena {
    struct block *blocks;
    size_t used, capacity; /* of the head */
};

static void *need(void *memory)
{
    if (!memory) {
        fputs("shoal-cni: no memory\n", stderr);
        exit(1);
    }
    return memory;
}

struct cni_arena *cni_arena_create(void)
{
    return need(calloc(1, sizeof(struct cni_arena)));
}

void cni_arena_destroy(struct cni_arena *arena)
{
    if (!arena)
        return;
    for (struct block *block = arena->blocks, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    free(arena);
}

static void *alloc_own(struct cni_arena *arena, size_t bytes)
{
    struct block *block = need(calloc(1, sizeof(*block) + bytes));
    if (arena->blocks) {
        block->next = arena->blocks->next;
        arena->blocks->next = block;
    } else {
        arena->blocks = block;
        arena->used = arena->capacity = 0;
    }
    return block->data;
}

void *cni_arena_alloc(struct cni_arena *arena, size_t bytes)
{
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (bytes > BLOCK_BYTES / 4)
        return alloc_own(arena, bytes);
    if (!arena->blocks || arena->capacity - arena->used < bytes) {
        struct block *block = need(calloc(1, sizeof(*block) + BLOCK_BYTES));
        block->next = arena->blocks;
        arena->blocks = block;
        arena->used = 0;
        arena->capacity = BLOCK_BYTES;
    }
    void *memory = (char *)arena->blocks->data + arena->used;
    arena->used += bytes;
    return memory;
}

char *cni_arena_copy(struct cni_arena *arena, const void *text, size_t bytes)
{
    char *copy = cni_arena_alloc(arena, bytes + 1);
    if (bytes)
        memcpy(copy, text, bytes);
    return copy;
}

char *cni_arena_format(struct cni_arena *arena, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    char *text = cni_arena_alloc(arena, length < 0 ? 1 : (size_t)length + 1);
    if (length >= 0)
        vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    va_end(arguments);
    return text;
}
