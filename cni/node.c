/*
 * Building trees and finding things in them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "node.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct cni_node *cni_node_create(struct cni_arena *arena, const struct cni_document *document,
                                 enum cni_kind kind, uint32_t line)
{
    struct cni_node *node = cni_arena_alloc(arena, sizeof(*node));
    node->kind = kind;
    node->line = line;
    node->text = "";
    node->document = document;
    return node;
}

void cni_node_append(struct cni_node *parent, struct cni_node *child, const char *key)
{
    child->parent = parent;
    child->key = key;
    child->index = parent->count++;
    if (parent->last)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
}

void cni_problem_set(struct cni_problem *problem, uint32_t line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(problem->text, sizeof(problem->text), format, arguments);
    va_end(arguments);
    problem->line = line;
}

struct cni_node *cni_get(const struct cni_node *map, const char *key)
{
    if (map && map->kind == CNI_MAP)
        CNI_EACH(child, map)
        {
            if (strcmp(child->key, key) == 0)
                return child;
        }
    return NULL;
}

struct cni_node *cni_get_nocase(const struct cni_node *map, const char *key)
{
    struct cni_node *exact = cni_get(map, key);
    if (!exact && map && map->kind == CNI_MAP)
        CNI_EACH(child, map)
        {
            if (strcasecmp(child->key, key) == 0)
                return child;
        }
    return exact;
}

struct cni_node *cni_at(const struct cni_node *map, const char *path)
{
    char step[64];
    struct cni_node *node = NULL;
    while (map) {
        size_t length = strcspn(path, ".");
        snprintf(step, sizeof(step), "%.*s", (int)length, path);
        node = cni_get(map, step);
        if (!path[length])
            return node;
        path += length + 1;
        map = node;
    }
    return NULL;
}

const char *cni_text(const struct cni_node *node)
{
    return node && node->kind == CNI_TEXT ? node->text : NULL;
}

const char *cni_text_at(const struct cni_node *map, const char *path)
{
    return cni_text(cni_at(map, path));
}

bool cni_is(const struct cni_node *node, const char *text)
{
    return cni_text(node) && strcmp(node->text, text) == 0;
}

const char *cni_kind_name(const struct cni_node *node)
{
    static const char *const names[] = {"nothing", "a boolean", "an integer", "a number",
                                        "a text",  "an object", "a list"};
    return names[node->kind];
}

const char *cni_node_path(struct cni_arena *arena, const struct cni_node *node)
{
    const struct cni_node *parent = node ? node->parent : NULL;
    if (!parent)
        return "";
    const char *above = cni_node_path(arena, parent);
    if (parent->kind == CNI_LIST)
        return cni_arena_format(arena, "%s[%u]", above, node->index);
    if (parent->kind != CNI_MAP) /* a text that was read as JSON */
        return cni_arena_format(arena, "%s:", above);
    size_t length = strlen(above);
    const char *separator = length && above[length - 1] != ':' ? "." : "";
    if (strpbrk(node->key, "./[") != NULL)
        return cni_arena_format(arena, "%s['%s']", above, node->key);
    return cni_arena_format(arena, "%s%s%s", above, separator, node->key);
}
