/*
 * Values of CEL rules: making, comparing, and the functions over them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cel_internal.h"

#include <regex.h>
#include <string.h>

#define TEXT_MAX 4096     /* that regular expressions are tried on */
#define ELEMENTS_MAX 5000 /* of a list that is walked */

struct cni_node *cni_cel_make(struct cni_cel *cel, enum cni_kind kind)
{
    struct cni_node *node = cni_arena_alloc(cel->arena, sizeof(*node));
    *node = (struct cni_node){.kind = kind, .text = ""};
    return node;
}

const struct cni_node *cni_cel_boolean(bool truth)
{
    static const struct cni_node both[] = {{.kind = CNI_BOOL, .text = "false"},
                                           {.kind = CNI_BOOL, .integer = 1, .text = "true"}};
    return &both[truth];
}

const struct cni_node *cni_cel_integer(struct cni_cel *cel, int64_t number)
{
    struct cni_node *node = cni_cel_make(cel, CNI_INT);
    node->integer = number;
    return node;
}

bool cni_cel_is_bool(const struct cni_node *of, bool truth)
{
    return of && of->kind == CNI_BOOL && (of->integer != 0) == truth;
}

bool cni_cel_is_present(const struct cni_node *of)
{
    return of && of->kind != CNI_NULL;
}

/* NULL: the two cannot be compared. */
const struct cni_node *cni_cel_equal(const struct cni_node *one, const struct cni_node *two)
{
    if (!one || !two || one->kind != two->kind)
        return NULL;
    if (one->kind == CNI_TEXT)
        return cni_cel_boolean(strcmp(one->text, two->text) == 0);
    if (one->kind == CNI_INT || one->kind == CNI_BOOL)
        return cni_cel_boolean(one->integer == two->integer);
    return NULL;
}

struct cni_cel_list *cni_cel_list_of(struct cni_cel *cel, const struct cni_node *of)
{
    size_t count = of && of->kind == CNI_LIST ? of->count : 0;
    if (!of || of->kind != CNI_LIST || count > ELEMENTS_MAX)
        return NULL;
    struct cni_cel_list *list =
        cni_arena_alloc(cel->arena, sizeof(*list) + count * sizeof(list->items[0]));
    list->count = 0;
    CNI_EACH(item, of)
    {
        list->items[list->count++] = item;
    }
    return list;
}

/* A copy of an element, since a node is in one list only. */
void cni_cel_append(struct cni_cel *cel, struct cni_node *list, const struct cni_node *item)
{
    struct cni_node *copy = cni_arena_alloc(cel->arena, sizeof(*copy));
    *copy = *item;
    copy->next = NULL;
    if (list->last)
        list->last->next = copy;
    else
        list->first = copy;
    list->last = copy;
    list->count++;
}

const struct cni_node *cni_cel_size_of(struct cni_cel *cel, const struct cni_node *of)
{
    if (!of || (of->kind != CNI_TEXT && of->kind != CNI_LIST && of->kind != CNI_MAP))
        return NULL;
    return cni_cel_integer(cel, of->kind == CNI_TEXT ? (int64_t)strlen(of->text) : of->count);
}

static const struct cni_node *matches(struct cni_cel *cel, const struct cni_node *text,
                                      const struct cni_node *pattern)
{
    regex_t regex;
    if (!cni_text(text) || !cni_text(pattern) || strlen(text->text) > TEXT_MAX)
        return NULL;
    if (regcomp(&regex, pattern->text, REG_EXTENDED | REG_NOSUB) != 0) {
        cel->unknown = true;
        return NULL;
    }
    bool found = regexec(&regex, text->text, 0, NULL, 0) == 0;
    regfree(&regex);
    return cni_cel_boolean(found);
}

const struct cni_node *cni_cel_on_text(struct cni_cel *cel, const char *name,
                                       const struct cni_node *text, const struct cni_node *part)
{
    if (strcmp(name, "matches") == 0)
        return matches(cel, text, part);
    if (!cni_text(text) || !cni_text(part))
        return NULL;
    size_t all = strlen(text->text), length = strlen(part->text);
    if (strcmp(name, "contains") == 0)
        return cni_cel_boolean(strstr(text->text, part->text) != NULL);
    if (strcmp(name, "startsWith") == 0)
        return cni_cel_boolean(strncmp(text->text, part->text, length) == 0);
    return cni_cel_boolean(all >= length && strcmp(text->text + all - length, part->text) == 0);
}

const struct cni_node *cni_cel_is_in(struct cni_cel *cel, const struct cni_node *one,
                                     const struct cni_node *of)
{
    const struct cni_cel_list *list = cni_cel_list_of(cel, of);
    for (size_t i = 0; list && i < list->count; i++)
        if (cni_cel_is_bool(cni_cel_equal(one, list->items[i]), true))
            return cni_cel_boolean(true);
    return list && one ? cni_cel_boolean(false) : NULL;
}

/* `deciding` decides alone, whatever the other side is. */
const struct cni_node *cni_cel_joined(const struct cni_node *one, const struct cni_node *two,
                                      bool deciding)
{
    if (cni_cel_is_bool(one, deciding) || cni_cel_is_bool(two, deciding))
        return cni_cel_boolean(deciding);
    return cni_cel_is_bool(one, !deciding) && cni_cel_is_bool(two, !deciding)
               ? cni_cel_boolean(!deciding)
               : NULL;
}
