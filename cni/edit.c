/*
 * Edits: where an entry goes, and how it is written there.
 *
 * Invariant: text that spans lines is inserted at the beginning of a line only, so no comment
 * behind a value is torn from it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "edit.h"

#include "emit.h"

#include <string.h>

void cni_edits_init(struct cni_edits *edits, struct cni_arena *arena, const char *content)
{
    *edits = (struct cni_edits){.arena = arena, .content = content};
    edits->tail = &edits->first;
}

static void refuse(struct cni_edits *edits, const struct cni_node *node, const char *reason)
{
    if (edits->refused)
        return;
    edits->refused = node;
    edits->reason = reason;
}

static void add(struct cni_edits *edits, size_t offset, size_t removed, const char *text)
{
    struct cni_edit *edit = cni_arena_alloc(edits->arena, sizeof(*edit));
    *edit = (struct cni_edit){.offset = offset, .removed = removed, .text = text};
    *edits->tail = edit;
    edits->tail = &edit->next;
}

/* ---- places ------------------------------------------------------------------------------------
 */

static size_t end_of(const struct cni_node *node)
{
    while ((node->kind == CNI_MAP || node->kind == CNI_LIST) && !node->flow && node->last)
        node = node->last;
    return node->source_end;
}

/* Lines behind the one on which something ends. */
static void add_lines(struct cni_edits *edits, size_t end, const char *lines)
{
    const char *newline = strchr(edits->content + end, '\n');
    if (end && edits->content[end - 1] == '\n') /* a text in lines ends at its last newline */
        add(edits, end, 0, lines);
    else if (newline)
        add(edits, (size_t)(newline - edits->content) + 1, 0, lines);
    else
        add(edits, end + strlen(edits->content + end), 0,
            cni_arena_format(edits->arena, "\n%s", lines));
}

/* On which column of its line something begins. */
static uint32_t column_of(const struct cni_edits *edits, size_t offset)
{
    uint32_t column = 0;
    while (offset && edits->content[offset - 1] != '\n') {
        offset--;
        column++;
    }
    return column;
}

static const char *join(struct cni_edits *edits, const char *left, const char *right)
{
    return cni_arena_format(edits->arena, "%s%s", left, right);
}

/* One entry, as a line or for use inside brackets. */
static const char *entry_text(struct cni_edits *edits, const char *key, const json_t *value,
                              bool flow, bool comma, uint32_t column)
{
    if (!flow)
        return cni_emit_entry(edits->arena, key, value, column);
    return join(edits, comma ? ", " : "", cni_emit_flow(edits->arena, key, value));
}

/* Those of an object or array. `comma`: others stand before them. */
static const char *entries(struct cni_edits *edits, const json_t *values, bool flow, bool comma,
                           uint32_t column)
{
    const char *text = "", *key;
    const json_t *value;
    size_t index;
    json_object_foreach((json_t *)(uintptr_t)values, key, value)
    {
        text = join(edits, text, entry_text(edits, key, value, flow, comma || *text, column));
    }
    json_array_foreach(values, index, value)
    {
        text = join(edits, text, entry_text(edits, NULL, value, flow, comma || *text, column));
    }
    return text;
}

/* New entries at the end of a mapping or list. */
static void append(struct cni_edits *edits, const struct cni_node *node, const json_t *values)
{
    if (!json_object_size(values) && !json_array_size(values))
        return;
    if (node->flow) {
        size_t inside = node->source_offset + 1;
        if (!node->last && !strchr("{[", edits->content[node->source_offset]))
            refuse(edits, node, "an anchor or tag stands before it");
        else
            add(edits, node->last ? end_of(node->last) : inside, 0,
                entries(edits, values, true, node->last != NULL, 0));
        return;
    }
    if (node->kind == CNI_LIST && edits->content[node->source_offset] != '-') {
        refuse(edits, node, "an anchor or tag stands before it");
        return;
    }
    uint32_t column =
        node->kind == CNI_MAP ? node->first->key_column : column_of(edits, node->source_offset);
    add_lines(edits, end_of(node), entries(edits, values, false, false, column));
}

void cni_edits_insert_after(struct cni_edits *edits, const struct cni_node *entry,
                            const json_t *values)
{
    const struct cni_node *list = entry->parent;
    if (list->flow)
        add(edits, end_of(entry), 0, entries(edits, values, true, true, 0));
    else
        add_lines(edits, end_of(entry),
                  entries(edits, values, false, false, column_of(edits, list->source_offset)));
}

/* A key whose value is empty gets one. */
static void fill(struct cni_edits *edits, const struct cni_node *node, const json_t *value)
{
    size_t length = node->source_end - node->source_offset;
    bool filled = json_object_size(value) || json_array_size(value);
    uint32_t column = node->key_column + (json_is_object(value) ? 2 : 0);
    if (length || node->parent->flow || !filled)
        add(edits, node->source_offset, length,
            cni_arena_format(edits->arena, "%s%s", length ? "" : " ",
                             cni_emit_flow(edits->arena, NULL, value)));
    else
        add_lines(edits, node->source_end, entries(edits, value, false, false, column));
}

static void replace(struct cni_edits *edits, const struct cni_node *node, const json_t *value)
{
    bool lines = node->source_end && edits->content[node->source_end - 1] == '\n';
    const char *text = cni_emit_flow(edits->arena, NULL, value);
    add(edits, node->source_offset, node->source_end - node->source_offset,
        lines ? join(edits, text, "\n") : text);
}

/* ---- merging -----------------------------------------------------------------------------------
 */

static bool is_equal(const struct cni_node *node, const json_t *value)
{
    if (json_is_string(value))
        return cni_is(node, json_string_value(value));
    if (json_is_integer(value))
        return node->kind == CNI_INT && node->integer == json_integer_value(value);
    return json_is_boolean(value) && node->kind == CNI_BOOL && node->integer == json_is_true(value);
}

/* The entry of a list that a wanted one is about. */
static const struct cni_node *counterpart(const struct cni_node *list, const json_t *want)
{
    static const char *const keys[] = {"mountPath", "manager", "name"};
    const char *key = NULL, *value = NULL;
    for (size_t i = 0; i < 3 && !value; i++)
        value = json_string_value(json_object_get(want, key = keys[i]));
    CNI_EACH(entry, list)
    {
        if (json_is_object(want) ? value && cni_is(cni_get(entry, key), value)
                                 : is_equal(entry, want))
            return entry;
    }
    return NULL;
}

static void merge_list(struct cni_edits *edits, const struct cni_node *list, const json_t *want)
{
    json_t *missing = json_array();
    json_t *value;
    size_t index;
    json_array_foreach((json_t *)(uintptr_t)want, index, value)
    {
        const struct cni_node *entry = counterpart(list, value);
        if (!entry)
            json_array_append(missing, value);
        else if (json_is_object(value))
            cni_edits_merge(edits, entry, value);
    }
    append(edits, list, missing);
    json_decref(missing);
}

static void merge_value(struct cni_edits *edits, const struct cni_node *node, const json_t *value)
{
    bool scalar = node->kind != CNI_MAP && node->kind != CNI_LIST;
    if (node->kind == CNI_NULL)
        fill(edits, node, value);
    else if (json_is_object(value) && node->kind == CNI_MAP)
        cni_edits_merge(edits, node, value);
    else if (json_is_array(value) && node->kind == CNI_LIST)
        merge_list(edits, node, value);
    else if (json_is_object(value) || json_is_array(value) || !scalar)
        refuse(edits, node, "it is of another kind than what belongs there");
    else if (!is_equal(node, value))
        replace(edits, node, value);
}

void cni_edits_merge(struct cni_edits *edits, const struct cni_node *map, const json_t *want)
{
    json_t *missing = json_object();
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)want, key, value)
    {
        const struct cni_node *child = cni_get(map, key);
        if (child)
            merge_value(edits, child, value);
        else
            json_object_set(missing, key, value);
    }
    append(edits, map, missing);
    json_decref(missing);
}

/* ---- applying ----------------------------------------------------------------------------------
 */

/* By offset; at one offset in the order of their making, which puts the inner before the outer. */
static const struct cni_edit **sorted(const struct cni_edits *edits, size_t *count)
{
    size_t n = 0;
    for (const struct cni_edit *edit = edits->first; edit; edit = edit->next)
        n++;
    const struct cni_edit **list = cni_arena_alloc(edits->arena, (n + 1) * sizeof(*list));
    *count = 0;
    for (const struct cni_edit *edit = edits->first; edit; edit = edit->next) {
        size_t at = (*count)++;
        for (; at && list[at - 1]->offset > edit->offset; at--)
            list[at] = list[at - 1];
        list[at] = edit;
    }
    return list;
}

const char *cni_edits_apply(const struct cni_edits *edits, size_t content_bytes, size_t *bytes)
{
    size_t grown = content_bytes, used = 0, from = 0, count = 0;
    const struct cni_edit **list = sorted(edits, &count);
    for (size_t i = 0; i < count; i++)
        grown += strlen(list[i]->text);
    char *text = cni_arena_alloc(edits->arena, grown + 1);
    for (size_t i = 0; i < count; i++) {
        const char *piece = list[i]->text;
        memcpy(text + used, edits->content + from, list[i]->offset - from);
        used += list[i]->offset - from;
        if (*piece == '\n' && used && text[used - 1] == '\n' && list[i]->offset == content_bytes)
            piece++; /* the edit before has ended the last line */
        size_t length = strlen(piece);
        memcpy(text + used, piece, length);
        used += length;
        from = list[i]->offset + list[i]->removed;
    }
    memcpy(text + used, edits->content + from, content_bytes - from);
    *bytes = used + content_bytes - from;
    return text;
}
