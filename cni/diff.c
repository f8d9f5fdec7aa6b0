/*
 * Comparing trees.
 *
 * Invariant: a pair of values is compared once, so work is bounded by the product of what two lists
 * without names hold at one place.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "diff.h"

#include <string.h>

struct differ {
    struct cni_arena *arena;
    const char *object;
    struct cni_change *changes, **tail;
};

static void compare(struct differ *differ, const char *path, const struct cni_node *old,
                    const struct cni_node *new);

static void put(struct differ *differ, const char *path, const struct cni_node *old,
                const struct cni_node *new)
{
    struct cni_change *change = cni_arena_alloc(differ->arena, sizeof(*change));
    *change = (struct cni_change){.object = differ->object, .path = path, .old = old, .new = new};
    *differ->tail = change;
    differ->tail = &change->next;
}

static bool is_container(const struct cni_node *node)
{
    return node->kind == CNI_MAP || node->kind == CNI_LIST;
}

static bool same_scalar(const struct cni_node *old, const struct cni_node *new)
{
    if (old->kind != new->kind)
        return false;
    if (old->kind == CNI_INT || old->kind == CNI_BOOL)
        return old->integer == new->integer &&
               (old->kind == CNI_BOOL || old->integer != INT64_MAX ||
                strcmp(old->text, new->text) == 0);
    return old->kind == CNI_NULL || strcmp(old->text, new->text) == 0;
}

/* ---- maps and lists
 * ------------------------------------------------------------------------------
 */

static const char *below(struct differ *differ, const char *path, const char *key)
{
    if (strpbrk(key, "./[") != NULL)
        return cni_arena_format(differ->arena, "%s['%s']", path, key);
    size_t length = strlen(path);
    return cni_arena_format(differ->arena, "%s%s%s", path,
                            length && path[length - 1] != ':' ? "." : "", key);
}

static void compare_maps(struct differ *differ, const char *path, const struct cni_node *old,
                         const struct cni_node *new)
{
    CNI_EACH(child, old)
    {
        compare(differ, below(differ, path, child->key), child, cni_get(new, child->key));
    }
    CNI_EACH(child, new)
    {
        if (!cni_get(old, child->key))
            put(differ, below(differ, path, child->key), NULL, child);
    }
}

static struct cni_node *named(const struct cni_node *list, const char *name)
{
    CNI_EACH(child, list)
    {
        if (cni_is(cni_get(child, "name"), name))
            return child;
    }
    return NULL;
}

static bool all_named(const struct cni_node *list)
{
    CNI_EACH(child, list)
    {
        const char *name = cni_text_at(child, "name");
        if (!name || named(list, name) != child)
            return false;
    }
    return true;
}

static void compare_named(struct differ *differ, const char *path, const struct cni_node *old,
                          const struct cni_node *new)
{
    CNI_EACH(child, old)
    {
        const char *name = cni_text_at(child, "name");
        compare(differ, cni_arena_format(differ->arena, "%s[%s]", path, name), child,
                named(new, name));
    }
    CNI_EACH(child, new)
    {
        const char *name = cni_text_at(child, "name");
        if (!named(old, name))
            put(differ, cni_arena_format(differ->arena, "%s[%s]", path, name), NULL, child);
    }
}

static void compare_lists(struct differ *differ, const char *path, const struct cni_node *old,
                          const struct cni_node *new)
{
    const struct cni_node *a = old->first, *b = new->first;
    if (all_named(old) && all_named(new)) {
        compare_named(differ, path, old, new);
        return;
    }
    for (uint32_t i = 0; a || b; i++) {
        const char *at = cni_arena_format(differ->arena, "%s[%u]", path, i);
        if (a)
            compare(differ, at, a, b);
        else
            put(differ, at, NULL, b);
        a = a ? a->next : NULL;
        b = b ? b->next : NULL;
    }
}

/* The JSON in a text; NULL for other texts. */
static struct cni_node *json_of(struct differ *differ, const struct cni_node *node)
{
    struct cni_problem problem;
    struct cni_node *root;
    const char *text = cni_text(node);
    if (!text || !strchr("{[", text[strspn(text, " \t\r\n")]) || !*text)
        return NULL;
    struct cni_node *copy = cni_arena_alloc(differ->arena, sizeof(*copy));
    *copy = *node;
    return cni_json_read_text(differ->arena, copy, &root, &problem) ? root : NULL;
}

static void compare(struct differ *differ, const char *path, const struct cni_node *old,
                    const struct cni_node *new)
{
    if (!new) {
        put(differ, path, old, NULL);
        return;
    }
    if (old->kind == CNI_MAP && new->kind == CNI_MAP) {
        compare_maps(differ, path, old, new);
        return;
    }
    if (old->kind == CNI_LIST && new->kind == CNI_LIST) {
        compare_lists(differ, path, old, new);
        return;
    }
    if (!is_container(old) && !is_container(new) && same_scalar(old, new))
        return;
    struct cni_node *one = json_of(differ, old), *two = one ? json_of(differ, new) : NULL;
    if (one && two)
        compare(differ, cni_arena_format(differ->arena, "%s:", path), one, two);
    else
        put(differ, path, old, new);
}

/* ---- documents ----------------------------------------------------------------------------------
 */

static const char *identity(struct differ *differ, const struct cni_node *root, uint32_t number)
{
    const char *kind = cni_text_at(root, "kind"), *name = cni_text_at(root, "metadata.name");
    const char *space = cni_text_at(root, "metadata.namespace");
    if (!kind || !name)
        return cni_arena_format(differ->arena, "document %u", number);
    return cni_arena_format(differ->arena, "%s %s%s%s", kind, space ? space : "", space ? "/" : "",
                            name);
}

static const struct cni_node *find(struct differ *differ, const struct cni_document *documents,
                                   const char *name)
{
    uint32_t number = 1;
    for (const struct cni_document *at = documents; at; at = at->next, number++)
        if (strcmp(identity(differ, at->root, number), name) == 0)
            return at->root;
    return NULL;
}

const struct cni_change *cni_diff(struct cni_arena *arena, const struct cni_document *old,
                                  const struct cni_document *new)
{
    struct differ differ = {.arena = arena};
    uint32_t number = 1;
    differ.tail = &differ.changes;
    for (const struct cni_document *at = old; at; at = at->next, number++) {
        differ.object = identity(&differ, at->root, number);
        compare(&differ, "", at->root, find(&differ, new, differ.object));
    }
    number = 1;
    for (const struct cni_document *at = new; at; at = at->next, number++) {
        differ.object = identity(&differ, at->root, number);
        if (!find(&differ, old, differ.object))
            put(&differ, "", NULL, at->root);
    }
    return differ.changes;
}
