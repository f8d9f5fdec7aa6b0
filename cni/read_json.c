/*
 * Strict JSON to trees. Lines are those of the file, also where the JSON is a text inside YAML.
 *
 * Invariant: never reads past the zero that ends the text; depth and nodes are bounded.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "node.h"
#include "scalar.h"

#include <string.h>

struct reader {
    struct cni_arena *arena;
    struct cni_problem *problem;
    const struct cni_document *document;
    const char *at;
    const char *source; /* the same bytes as they stand in the file, blanks apart; or NULL */
    uint32_t line, nodes;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* In YAML, blanks may have been folded: keep `source` at the same printed character. */
static void advance(struct reader *reader)
{
    if (reader->source) {
        bool doubled = reader->source[0] == '\'' && reader->source[1] == '\'';
        if (!is_blank(*reader->at) && *reader->source)
            reader->source += doubled ? 2 : 1;
        for (; is_blank(*reader->source); reader->source++)
            reader->line += *reader->source == '\n';
    } else {
        reader->line += *reader->at == '\n';
    }
    reader->at++;
}

static void skip_blanks(struct reader *reader)
{
    while (is_blank(*reader->at))
        advance(reader);
}

static bool fail(struct reader *reader, const char *wanted)
{
    char seen = *reader->at;
    if (!seen)
        cni_problem_set(reader->problem, reader->line, "JSON ends where %s belongs", wanted);
    else if ((unsigned char)seen < 0x20 || (unsigned char)seen >= 0x7f)
        cni_problem_set(reader->problem, reader->line, "not JSON: byte 0x%02x where %s belongs",
                        (unsigned char)seen, wanted);
    else
        cni_problem_set(reader->problem, reader->line, "not JSON: '%c' where %s belongs", seen,
                        wanted);
    return false;
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool read_unit(struct reader *reader, uint32_t *unit)
{
    *unit = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_value(*reader->at);
        if (digit < 0)
            return fail(reader, "a hexadecimal digit");
        *unit = *unit * 16 + (uint32_t)digit;
        advance(reader);
    }
    return true;
}

static char *put_character(char *out, uint32_t code)
{
    if (code < 0x80) {
        *out++ = (char)code;
        return out;
    }
    int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    *out++ = (char)((more == 1 ? 0xc0u : more == 2 ? 0xe0u : 0xf0u) | code >> (6 * more));
    while (more--)
        *out++ = (char)(0x80u | (code >> (6 * more) & 0x3fu));
    return out;
}

/* After \u; pairs of surrogates become one character, single ones the replacement character. */
static bool read_unicode(struct reader *reader, char **out)
{
    uint32_t code, low = 0;
    if (!read_unit(reader, &code))
        return false;
    if (code == 0) {
        cni_problem_set(reader->problem, reader->line, "a text with a zero character");
        return false;
    }
    if (code >= 0xd800 && code < 0xe000) {
        bool pair = code < 0xdc00 && reader->at[0] == '\\' && reader->at[1] == 'u';
        if (pair) {
            advance(reader);
            advance(reader);
            if (!read_unit(reader, &low))
                return false;
            pair = low >= 0xdc00 && low < 0xe000;
        }
        code = pair ? 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00) : 0xfffd;
    }
    *out = put_character(*out, code);
    return true;
}

static bool read_escape(struct reader *reader, char **out)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    char letter = *reader->at;
    const char *found = letter ? strchr(letters, letter) : NULL;
    if (letter != 'u' && !found)
        return fail(reader, "an escape such as \\n");
    advance(reader);
    if (letter == 'u')
        return read_unicode(reader, out);
    *(*out)++ = meanings[found - letters];
    return true;
}

static bool read_string(struct reader *reader, const char **text)
{
    advance(reader); /* the quote */
    size_t longest = 0;
    for (const char *c = reader->at; *c && *c != '"'; c++, longest++)
        if (*c == '\\' && c[1])
            c++, longest++;
    char *buffer = cni_arena_alloc(reader->arena, longest + 1), *out = buffer;
    while (*reader->at != '"') {
        char c = *reader->at;
        if ((unsigned char)c < 0x20)
            return fail(reader, "the end of a text");
        advance(reader);
        if (c != '\\')
            *out++ = c;
        else if (!read_escape(reader, &out))
            return false;
    }
    advance(reader);
    *text = buffer;
    return true;
}

static bool read_value(struct reader *reader, uint32_t depth, struct cni_node **node);

static bool read_member(struct reader *reader, struct cni_node *parent, uint32_t depth)
{
    const char *key = NULL;
    struct cni_node *child;
    uint32_t line = reader->line;
    if (parent->kind == CNI_MAP) {
        if (*reader->at != '"')
            return fail(reader, "a key in double quotes");
        if (!read_string(reader, &key))
            return false;
        if (parent->count >= CNI_KEYS_MAX) {
            cni_problem_set(reader->problem, line, "more than %u keys in one object", CNI_KEYS_MAX);
            return false;
        }
        if (cni_get(parent, key)) {
            cni_problem_set(reader->problem, line, "the key %.80s is given twice", key);
            reader->problem->duplicate_key = true;
            return false;
        }
        skip_blanks(reader);
        if (*reader->at != ':')
            return fail(reader, "':'");
        advance(reader);
    }
    if (!read_value(reader, depth, &child))
        return false;
    if (key)
        child->line = line;
    cni_node_append(parent, child, key);
    return true;
}

static bool read_members(struct reader *reader, struct cni_node *parent, uint32_t depth)
{
    char end = parent->kind == CNI_MAP ? '}' : ']';
    advance(reader);
    skip_blanks(reader);
    if (*reader->at == end) {
        advance(reader);
        return true;
    }
    for (;;) {
        skip_blanks(reader);
        if (!read_member(reader, parent, depth))
            return false;
        skip_blanks(reader);
        if (*reader->at == end) {
            advance(reader);
            return true;
        }
        if (*reader->at != ',')
            return fail(reader, end == '}' ? "',' or '}'" : "',' or ']'");
        advance(reader);
    }
}

static bool read_word(struct reader *reader, struct cni_node *node)
{
    char word[64];
    size_t length = strcspn(reader->at, " \t\r\n,:]}[{\"");
    if (length >= sizeof(word) || !length)
        return fail(reader, "a value");
    memcpy(word, reader->at, length);
    word[length] = 0;
    node->text = word;
    bool yes = strcmp(word, "true") == 0;
    if (yes || strcmp(word, "false") == 0) {
        node->kind = CNI_BOOL;
        node->integer = yes;
    } else if (strcmp(word, "null") == 0) {
        node->kind = CNI_NULL;
    } else if (!cni_scalar_number(node)) {
        node->text = "";
        return fail(reader, "a value");
    }
    node->text = cni_arena_copy(reader->arena, word, length);
    while (length--)
        advance(reader);
    return true;
}

static bool read_value(struct reader *reader, uint32_t depth, struct cni_node **node)
{
    skip_blanks(reader);
    if (depth >= CNI_DEPTH_MAX || ++reader->nodes > CNI_NODES_MAX) {
        cni_problem_set(reader->problem, reader->line, "nested deeper than %d, or too large",
                        CNI_DEPTH_MAX);
        return false;
    }
    char c = *reader->at;
    enum cni_kind kind = c == '{' ? CNI_MAP : c == '[' ? CNI_LIST : CNI_TEXT;
    *node = cni_node_create(reader->arena, reader->document, kind, reader->line);
    if (kind != CNI_TEXT)
        return read_members(reader, *node, depth + 1);
    if (c == '"')
        return read_string(reader, &(*node)->text);
    return read_word(reader, *node);
}

static bool read_all(struct reader *reader, struct cni_node **root)
{
    *reader->problem = (struct cni_problem){0};
    if (!read_value(reader, 0, root))
        return false;
    skip_blanks(reader);
    return !*reader->at || fail(reader, "the end");
}

bool cni_json_read(struct cni_arena *arena, const struct cni_document *document,
                   const char *content, size_t bytes, struct cni_node **root,
                   struct cni_problem *problem)
{
    struct reader reader = {
        .arena = arena, .problem = problem, .document = document, .at = content, .line = 1};
    if (bytes <= CNI_FILE_BYTES_MAX && !memchr(content, 0, bytes))
        return read_all(&reader, root);
    cni_problem_set(problem, 1, "larger than %u MiB, or a zero byte", CNI_FILE_BYTES_MAX >> 20);
    return false;
}

bool cni_json_read_text(struct cni_arena *arena, struct cni_node *scalar, struct cni_node **root,
                        struct cni_problem *problem)
{
    struct reader reader = {.arena = arena,
                            .problem = problem,
                            .document = scalar->document,
                            .at = scalar->text,
                            .line = scalar->source_line ? scalar->source_line : scalar->line};
    /* Behind `|` or a quote, unless the quotes are double: their escapes differ from the text. */
    const char *source = scalar->document->content;
    if (source && scalar->source_offset) {
        source += scalar->source_offset;
        if (*source == '|' || *source == '>')
            source += strcspn(source, "\n");
        else if (*source == '\'')
            source++;
        if (*source != '"')
            reader.source = source;
    }
    for (; reader.source && is_blank(*reader.source); reader.source++)
        reader.line += *reader.source == '\n';
    if (!read_all(&reader, root))
        return false;
    (*root)->parent = scalar;
    return true;
}
