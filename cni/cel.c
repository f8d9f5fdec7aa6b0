/*
 * Evaluating while reading, without a tree: rules are short, and run once or twice.
 *
 * Invariant: every const struct cni_node *is a node or NULL, which stands for CEL's errors: absent
 * fields and wrong types. Errors spread, but `false && error` is false and `true || error` is true,
 * as in CEL.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cel.h"

#include <ctype.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#define WORD_BYTES 64
#define TEXT_MAX 4096     /* that regular expressions are tried on */
#define ELEMENTS_MAX 5000 /* of a list that is walked */
#define DEPTH_MAX 40

/* What a name stands for; the innermost first. */
struct variable {
    const char *name;
    const struct cni_node *value;
    const struct variable *outer;
};

struct cel {
    struct cni_arena *arena;
    const char *at;
    const struct variable *variables;
    unsigned int depth;
    bool unknown; /* something that is not understood here */
};

static const struct cni_node *expression(struct cel *cel);

/* ---- values ------------------------------------------------------------------------------------
 */

static struct cni_node *make(struct cel *cel, enum cni_kind kind)
{
    struct cni_node *node = cni_arena_alloc(cel->arena, sizeof(*node));
    *node = (struct cni_node){.kind = kind, .text = ""};
    return node;
}

static const struct cni_node *boolean(bool truth)
{
    static const struct cni_node both[] = {{.kind = CNI_BOOL, .text = "false"},
                                           {.kind = CNI_BOOL, .integer = 1, .text = "true"}};
    return &both[truth];
}

static const struct cni_node *integer(struct cel *cel, int64_t number)
{
    struct cni_node *node = make(cel, CNI_INT);
    node->integer = number;
    return node;
}

static bool is_bool(const struct cni_node *of, bool truth)
{
    return of && of->kind == CNI_BOOL && (of->integer != 0) == truth;
}

static bool is_present(const struct cni_node *of)
{
    return of && of->kind != CNI_NULL;
}

/* NULL: the two cannot be compared. */
static const struct cni_node *equal(const struct cni_node *one, const struct cni_node *two)
{
    if (!one || !two || one->kind != two->kind)
        return NULL;
    if (one->kind == CNI_TEXT)
        return boolean(strcmp(one->text, two->text) == 0);
    if (one->kind == CNI_INT || one->kind == CNI_BOOL)
        return boolean(one->integer == two->integer);
    return NULL;
}

/* A list of the program keeps the nodes of the document as they are: behind pointers. */
struct list {
    size_t count;
    const struct cni_node *items[];
};

static struct list *list_of(struct cel *cel, const struct cni_node *of)
{
    size_t count = of && of->kind == CNI_LIST ? of->count : 0;
    if (!of || of->kind != CNI_LIST || count > ELEMENTS_MAX)
        return NULL;
    struct list *list = cni_arena_alloc(cel->arena, sizeof(*list) + count * sizeof(list->items[0]));
    list->count = 0;
    CNI_EACH(item, of)
    {
        list->items[list->count++] = item;
    }
    return list;
}

/* A copy of an element, since a node is in one list only. */
static void append(struct cel *cel, struct cni_node *list, const struct cni_node *item)
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

/* ---- words -------------------------------------------------------------------------------------
 */

static void skip_blanks(struct cel *cel)
{
    while (isspace((unsigned char)*cel->at))
        cel->at++;
}

static bool take(struct cel *cel, const char *mark)
{
    skip_blanks(cel);
    size_t length = strlen(mark);
    if (strncmp(cel->at, mark, length) != 0)
        return false;
    cel->at += length;
    return true;
}

static void need(struct cel *cel, const char *mark)
{
    if (!take(cel, mark))
        cel->unknown = true;
}

static bool take_word(struct cel *cel, char word[WORD_BYTES])
{
    size_t length = 0;
    skip_blanks(cel);
    while (isalnum((unsigned char)cel->at[length]) || cel->at[length] == '_')
        length++;
    if (!length || length >= WORD_BYTES || isdigit((unsigned char)*cel->at))
        return false;
    memcpy(word, cel->at, length);
    word[length] = '\0';
    cel->at += length;
    return true;
}

/* Without escapes, which no rule has. */
static const struct cni_node *quoted(struct cel *cel)
{
    char quote = *cel->at++;
    size_t length = strcspn(cel->at, quote == '"' ? "\"\\" : "'\\");
    if (cel->at[length] != quote) {
        cel->unknown = true;
        return NULL;
    }
    struct cni_node *node = make(cel, CNI_TEXT);
    node->text = cni_arena_copy(cel->arena, cel->at, length);
    cel->at += length + 1;
    return node;
}

static const struct cni_node *bracketed(struct cel *cel)
{
    struct cni_node *list = make(cel, CNI_LIST);
    bool whole = true;
    while (!cel->unknown && !take(cel, "]")) {
        const struct cni_node *item = expression(cel);
        if (item)
            append(cel, list, item);
        whole &= item != NULL;
        if (!take(cel, ",")) {
            need(cel, "]");
            break;
        }
    }
    return whole ? list : NULL;
}

/* ---- functions ---------------------------------------------------------------------------------
 */

static const struct cni_node *size_of(struct cel *cel, const struct cni_node *of)
{
    if (!of || (of->kind != CNI_TEXT && of->kind != CNI_LIST && of->kind != CNI_MAP))
        return NULL;
    return integer(cel, of->kind == CNI_TEXT ? (int64_t)strlen(of->text) : of->count);
}

static const struct cni_node *matches(struct cel *cel, const struct cni_node *text,
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
    return boolean(found);
}

static const struct cni_node *on_text(struct cel *cel, const char *name,
                                      const struct cni_node *text, const struct cni_node *part)
{
    if (strcmp(name, "matches") == 0)
        return matches(cel, text, part);
    if (!cni_text(text) || !cni_text(part))
        return NULL;
    size_t all = strlen(text->text), length = strlen(part->text);
    if (strcmp(name, "contains") == 0)
        return boolean(strstr(text->text, part->text) != NULL);
    if (strcmp(name, "startsWith") == 0)
        return boolean(strncmp(text->text, part->text, length) == 0);
    return boolean(all >= length && strcmp(text->text + all - length, part->text) == 0);
}

/* The body once, with a name for an element. */
static const struct cni_node *with(struct cel *cel, const char *body, const char *name,
                                   const struct cni_node *element)
{
    const struct variable bound = {.name = name, .value = element, .outer = cel->variables};
    cel->at = body;
    cel->variables = &bound;
    const struct cni_node *result = expression(cel);
    cel->variables = bound.outer;
    return result;
}

/* all, exists and filter: `(name, body)` over the elements of a list. */
static const struct cni_node *over(struct cel *cel, const char *macro, const struct cni_node *of)
{
    char name[WORD_BYTES];
    bool every = strcmp(macro, "all") == 0, unsure = false;
    if (!take_word(cel, name)) {
        cel->unknown = true;
        return NULL;
    }
    need(cel, ",");
    const char *body = cel->at;
    with(cel, body, name, NULL); /* to its end, even of an empty list */
    const char *end = cel->at;
    const struct list *list = list_of(cel, of);
    struct cni_node *kept = make(cel, CNI_LIST);
    bool decided = false;
    for (size_t i = 0; list && i < list->count; i++) {
        const struct cni_node *one = with(cel, body, name, list->items[i]);
        unsure |= !one;
        decided |= is_bool(one, !every);
        if (is_bool(one, true))
            append(cel, kept, list->items[i]);
    }
    cel->at = end;
    if (!list)
        return NULL;
    if (strcmp(macro, "filter") == 0)
        return unsure ? NULL : kept;
    return decided ? boolean(!every) : unsure ? NULL : boolean(every);
}

static const struct cni_node *call(struct cel *cel, const char *name, const struct cni_node *of)
{
    static const char *const texts[] = {"matches", "contains", "startsWith", "endsWith"};
    static const char *const macros[] = {"all", "exists", "filter"};
    const struct cni_node *result = NULL;
    bool known = false;
    if (strcmp(name, "size") == 0) {
        result = size_of(cel, of);
        known = true;
    }
    for (size_t i = 0; !known && i < sizeof(texts) / sizeof(texts[0]); i++)
        if (strcmp(name, texts[i]) == 0) {
            result = on_text(cel, name, of, expression(cel));
            known = true;
        }
    for (size_t i = 0; !known && i < sizeof(macros) / sizeof(macros[0]); i++)
        if (strcmp(name, macros[i]) == 0) {
            result = over(cel, name, of);
            known = true;
        }
    cel->unknown |= !known;
    need(cel, ")");
    return result;
}

/* ---- expressions -------------------------------------------------------------------------------
 */

static const struct cni_node *variable(struct cel *cel, const char *name)
{
    for (const struct variable *at = cel->variables; at; at = at->outer)
        if (strcmp(at->name, name) == 0)
            return at->value;
    cel->unknown = true;
    return NULL;
}

static const struct cni_node *named(struct cel *cel)
{
    char word[WORD_BYTES];
    if (!take_word(cel, word)) {
        cel->unknown = true;
        return NULL;
    }
    if (strcmp(word, "true") == 0 || strcmp(word, "false") == 0)
        return boolean(*word == 't');
    bool has = strcmp(word, "has") == 0;
    if (!has && strcmp(word, "size") != 0)
        return variable(cel, word);
    need(cel, "(");
    const struct cni_node *of = expression(cel);
    need(cel, ")");
    return has ? boolean(is_present(of)) : size_of(cel, of);
}

static const struct cni_node *primary(struct cel *cel)
{
    skip_blanks(cel);
    if (*cel->at == '"' || *cel->at == '\'')
        return quoted(cel);
    if (isdigit((unsigned char)*cel->at)) {
        char *end;
        const struct cni_node *number = integer(cel, strtoll(cel->at, &end, 10));
        cel->at = end;
        return number;
    }
    if (take(cel, "["))
        return bracketed(cel);
    if (take(cel, "(")) {
        const struct cni_node *inside = expression(cel);
        need(cel, ")");
        return inside;
    }
    return named(cel);
}

static const struct cni_node *chain(struct cel *cel)
{
    char word[WORD_BYTES];
    const struct cni_node *of = primary(cel);
    while (!cel->unknown && take(cel, ".")) {
        if (!take_word(cel, word))
            cel->unknown = true;
        else if (take(cel, "("))
            of = call(cel, word, of);
        else
            of = cni_get(of, word);
    }
    return of;
}

static const struct cni_node *negation(struct cel *cel)
{
    bool inverted = false, any = false;
    while (take(cel, "!")) {
        inverted = !inverted;
        any = true;
    }
    const struct cni_node *of = chain(cel);
    if (!any)
        return of;
    return of && of->kind == CNI_BOOL ? boolean((of->integer != 0) != inverted) : NULL;
}

static const struct cni_node *is_in(struct cel *cel, const struct cni_node *one,
                                    const struct cni_node *of)
{
    const struct list *list = list_of(cel, of);
    for (size_t i = 0; list && i < list->count; i++)
        if (is_bool(equal(one, list->items[i]), true))
            return boolean(true);
    return list && one ? boolean(false) : NULL;
}

static const struct cni_node *comparison(struct cel *cel)
{
    static const char *const signs[] = {"==", "!=", ">=", "<=", ">", "<"};
    const struct cni_node *one = negation(cel);
    skip_blanks(cel);
    if (strncmp(cel->at, "in", 2) == 0 && !isalnum((unsigned char)cel->at[2])) {
        cel->at += 2;
        return is_in(cel, one, negation(cel));
    }
    for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
        if (!take(cel, signs[i]))
            continue;
        const struct cni_node *two = negation(cel), *same = equal(one, two);
        if (i < 2)
            return same ? boolean((same->integer != 0) == (i == 0)) : NULL;
        if (!one || !two || one->kind != CNI_INT || two->kind != CNI_INT)
            return NULL;
        return boolean(i == 2   ? one->integer >= two->integer
                       : i == 3 ? one->integer <= two->integer
                       : i == 4 ? one->integer > two->integer
                                : one->integer < two->integer);
    }
    return one;
}

/* `deciding` decides alone, whatever the other side is. */
static const struct cni_node *joined(const struct cni_node *one, const struct cni_node *two,
                                     bool deciding)
{
    if (is_bool(one, deciding) || is_bool(two, deciding))
        return boolean(deciding);
    return is_bool(one, !deciding) && is_bool(two, !deciding) ? boolean(!deciding) : NULL;
}

static const struct cni_node *conjunction(struct cel *cel)
{
    const struct cni_node *all = comparison(cel);
    while (!cel->unknown && take(cel, "&&"))
        all = joined(all, comparison(cel), false);
    return all;
}

static const struct cni_node *expression(struct cel *cel)
{
    if (++cel->depth > DEPTH_MAX)
        cel->unknown = true;
    const struct cni_node *any = cel->unknown ? NULL : conjunction(cel);
    while (!cel->unknown && take(cel, "||"))
        any = joined(any, conjunction(cel), true);
    cel->depth--;
    return any;
}

enum cni_cel_verdict cni_cel_check(struct cni_arena *arena, const char *rule,
                                   const struct cni_node *self)
{
    const struct variable bound = {.name = "self", .value = self};
    struct cel cel = {.arena = arena, .at = rule, .variables = &bound};
    const struct cni_node *result = expression(&cel);
    skip_blanks(&cel);
    if (cel.unknown || *cel.at || !result || result->kind != CNI_BOOL)
        return CNI_CEL_UNKNOWN;
    return result->integer ? CNI_CEL_HOLDS : CNI_CEL_BROKEN;
}
