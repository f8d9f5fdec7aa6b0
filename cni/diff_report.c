/*
 * Changes as text and as JSON.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "diff.h"

#include "emit.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 160 /* of a value, in the text for people */

static json_t *value_of(const struct cni_node *node)
{
    json_t *value;
    if (!node || node->kind == CNI_NULL)
        return json_null();
    switch (node->kind) {
    case CNI_MAP:
        value = json_object();
        CNI_EACH(child, node)
        {
            json_object_set_new(value, child->key, value_of(child));
        }
        return value;
    case CNI_LIST:
        value = json_array();
        CNI_EACH(child, node)
        {
            json_array_append_new(value, value_of(child));
        }
        return value;
    case CNI_BOOL:
        return json_boolean(node->integer);
    case CNI_INT:
        return json_integer(node->integer);
    default:
        value = json_string(node->text);
        return value ? value : json_null();
    }
}

static void put_text(const char *text, FILE *out)
{
    for (; *text; text++)
        putc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text, out);
}

static void put_value(const struct cni_node *node, FILE *out)
{
    json_t *value = value_of(node);
    char *text = json_dumps(value, JSON_ENCODE_ANY);
    if (text && strlen(text) > TEXT_MAX) {
        size_t end = TEXT_MAX;
        while (end && ((unsigned char)text[end] & 0xc0) == 0x80) /* not within a character */
            end--;
        text[end] = 0;
        put_text(text, out);
        fputs("...", out);
    } else {
        put_text(text ? text : "", out);
    }
    free(text);
    json_decref(value);
}

bool cni_diff_text(const struct cni_change *changes, FILE *out)
{
    const char *object = NULL;
    for (const struct cni_change *at = changes; at; at = at->next) {
        if (!object || strcmp(object, at->object) != 0) {
            put_text(at->object, out);
            putc('\n', out);
        }
        object = at->object;
        fprintf(out, "  %c ", !at->old ? '+' : !at->new ? '-' : '~');
        put_text(*at->path ? at->path : "(all of it)", out);
        fputs(": ", out);
        put_value(at->old ? at->old : at->new, out);
        if (at->old && at->new) {
            fputs(" -> ", out);
            put_value(at->new, out);
        }
        putc('\n', out);
    }
    return fflush(out) == 0 && !ferror(out);
}

bool cni_diff_data(const struct cni_change *changes, bool yaml, FILE *out)
{
    json_t *list = json_array();
    for (const struct cni_change *at = changes; at; at = at->next) {
        json_t *change = json_object();
        json_object_set_new(change, "object", json_string(at->object));
        json_object_set_new(change, "path", json_string(at->path));
        json_object_set_new(change, "change",
                            json_string(!at->old   ? "added"
                                        : !at->new ? "removed"
                                                   : "changed"));
        json_object_set_new(change, "old", value_of(at->old));
        json_object_set_new(change, "new", value_of(at->new));
        json_array_append_new(list, change);
    }
    return cni_emit_value(list, yaml, out);
}
