/*
 * Writing YAML in the layout that kubectl users know: two blanks a level, lists at the column of
 * their key, texts without quotes where they cannot be taken for anything else.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "emit.h"

#include "scalar.h"

#include <stdlib.h>
#include <string.h>

static void put_value(FILE *out, const json_t *value, uint32_t column);

static void put_blanks(FILE *out, uint32_t count)
{
    fprintf(out, "%*s", (int)count, "");
}

static void put_json(FILE *out, const json_t *value)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY);
    fputs(text ? text : "null", out);
    free(text);
}

/* Letters and marks that no reader of YAML takes for anything but a text. */
static bool is_plain(const char *text)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                               "_./-@";
    struct cni_node node = {.kind = CNI_TEXT, .text = text, .plain = true};
    if (!*text || strchr("@-.", *text) || strspn(text, safe) != strlen(text))
        return false;
    cni_scalar_resolve(&node);
    return node.kind == CNI_TEXT;
}

/* Lines as they are, behind a bar: for texts that begin with no blank and hold no other control. */
static bool is_lines(const char *text)
{
    bool several = strchr(text, '\n') != NULL && *text != ' ' && *text != '\n';
    for (const char *c = text; several && *c; c++)
        several = ((unsigned char)*c >= 0x20 && *c != 0x7f) || *c == '\n';
    size_t length = strlen(text);
    return several && !(length > 1 && text[length - 1] == '\n' && text[length - 2] == '\n');
}

static void put_lines(FILE *out, const char *text, uint32_t column)
{
    fputs(text[strlen(text) - 1] == '\n' ? "|\n" : "|-\n", out);
    while (*text) {
        size_t length = strcspn(text, "\n");
        if (length)
            put_blanks(out, column);
        fprintf(out, "%.*s\n", (int)length, text);
        text += length + (text[length] == '\n');
    }
}

static void put_scalar(FILE *out, const json_t *value, uint32_t column)
{
    const char *text = json_string_value(value);
    if (text && is_lines(text)) {
        put_lines(out, text, column + 2);
        return;
    }
    if (text && is_plain(text))
        fputs(text, out);
    else
        put_json(out, value);
    putc('\n', out);
}

static bool is_filled(const json_t *value)
{
    return json_object_size(value) || json_array_size(value);
}

static void put_key(FILE *out, const char *key)
{
    json_t *text = json_string(key);
    if (is_plain(key))
        fputs(key, out);
    else
        put_json(out, text);
    json_decref(text);
    putc(':', out);
}

static void put_member(FILE *out, const char *key, const json_t *value, uint32_t column)
{
    put_key(out, key);
    if (json_is_object(value) && is_filled(value)) {
        putc('\n', out);
        put_blanks(out, column + 2);
        put_value(out, value, column + 2);
    } else if (is_filled(value)) {
        putc('\n', out);
        put_blanks(out, column);
        put_value(out, value, column);
    } else {
        putc(' ', out);
        put_scalar(out, value, column);
    }
}

/* The cursor stands at `column`. */
static void put_value(FILE *out, const json_t *value, uint32_t column)
{
    const char *key;
    const json_t *member;
    size_t index;
    bool first = true;
    if (!is_filled(value)) {
        put_scalar(out, value, column);
        return;
    }
    if (json_is_array(value)) {
        json_array_foreach(value, index, member)
        {
            put_blanks(out, index ? column : 0);
            fputs("- ", out);
            put_value(out, member, column + 2);
        }
        return;
    }
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        put_blanks(out, first ? 0 : column);
        put_member(out, key, member, column);
        first = false;
    }
}

bool cni_emit_documents(const json_t *objects, FILE *out)
{
    const json_t *object;
    size_t index;
    json_array_foreach(objects, index, object)
    {
        fputs(index ? "---\n" : "", out);
        put_value(out, object, 0);
    }
    return fflush(out) == 0 && !ferror(out);
}

bool cni_emit_list(const json_t *objects, FILE *out)
{
    json_t *list = json_pack("{s:s, s:s, s:O}", "apiVersion", "v1", "kind", "List", "items",
                             (json_t *)(uintptr_t)objects);
    return cni_emit_value(list, false, out);
}

bool cni_emit_value(json_t *value, bool yaml, FILE *out)
{
    bool good = value != NULL;
    if (good && yaml)
        put_value(out, value, 0);
    else if (good)
        good = json_dumpf(value, out, JSON_INDENT(2)) == 0 && putc('\n', out) != EOF;
    json_decref(value);
    return fflush(out) == 0 && !ferror(out) && good;
}

static const char *keep(struct cni_arena *arena, char *text)
{
    const char *kept = cni_arena_copy(arena, text ? text : "", text ? strlen(text) : 0);
    free(text);
    return kept;
}

const char *cni_emit_entry(struct cni_arena *arena, const char *key, const json_t *value,
                           uint32_t column)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out)
        return "";
    put_blanks(out, column);
    if (key) {
        put_member(out, key, value, column);
    } else {
        fputs("- ", out);
        put_value(out, value, column + 2);
    }
    fclose(out);
    return keep(arena, text);
}

const char *cni_emit_flow(struct cni_arena *arena, const char *key, const json_t *value)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY);
    const char *flow = keep(arena, text);
    json_t *name = key ? json_string(key) : NULL;
    if (name) {
        const char *quoted = keep(arena, json_dumps(name, JSON_ENCODE_ANY));
        flow = cni_arena_format(arena, "%s: %s", quoted, flow);
    }
    json_decref(name);
    return flow;
}
