/*
 * Evaluating while reading, without a tree: rules are short, and run once or twice.
 *
 * Invariant: errors are NULL and spread, but `false && error` is false and `true || error` is true,
 * as in CEL.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cel_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define WORD_BYTES 64
#define DEPTH_MAX 40

static const struct cni_node *expression(struct cni_cel *cel);

/* ---- words -------------------------------------------------------------------------------------
 */

static void skip_blanks(struct cni_cel *cel)
{
    while (isspace((unsigned char)*cel->at))
        cel->at++;
}

static bool take(struct cni_cel *cel, const char *mark)
{
    skip_blanks(cel);
    size_t length = strlen(mark);
    if (strncmp(cel->at, mark, length) != 0)
        return false;
    cel->at += length;
    return true;
}

static void need(struct cni_cel *cel, const char *mark)
{
    if (!take(cel, mark))
        cel->unknown = true;
}

static bool take_word(struct cni_cel *cel, char word[WORD_BYTES])
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
static const struct cni_node *quoted(struct cni_cel *cel)
{
    char quote = *cel->at++;
    size_t length = strcspn(cel->at, quote == '"' ? "\"\\" : "'\\");
    if (cel->at[length] != quote) {
        cel->unknown = true;
        return NULL;
    }
    struct cni_node *node = cni_cel_make(cel, CNI_TEXT);
    node->text = cni_arena_copy(cel->arena, cel->at, length);
    cel->at += length + 1;
    return node;
}

static const struct cni_node *bracketed(struct cni_cel *cel)
{
    struct cni_node *list = cni_cel_make(cel, CNI_LIST);
    bool whole = true;
    while (!cel->unknown && !take(cel, "]")) {
        const struct cni_node *item = expression(cel);
        if (item)
            cni_cel_append(cel, list, item);
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

/* The body once, with a name for an element. */
static const struct cni_node *with(struct cni_cel *cel, const char *body, const char *name,
                                   const struct cni_node *element)
{
    const struct cni_cel_variable bound = {.name = name, .value = element, .outer = cel->variables};
    cel->at = body;
    cel->variables = &bound;
    const struct cni_node *result = expression(cel);
    cel->variables = bound.outer;
    return result;
}

/* all, exists and filter: `(name, body)` over the elements of a list. */
static const struct cni_node *over(struct cni_cel *cel, const char *macro,
                                   const struct cni_node *of)
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
    const struct cni_cel_list *list = cni_cel_list_of(cel, of);
    struct cni_node *kept = cni_cel_make(cel, CNI_LIST);
    bool decided = false;
    for (size_t i = 0; list && i < list->count; i++) {
        const struct cni_node *one = with(cel, body, name, list->items[i]);
        unsure |= !one;
        decided |= cni_cel_is_bool(one, !every);
        if (cni_cel_is_bool(one, true))
            cni_cel_append(cel, kept, list->items[i]);
    }
    cel->at = end;
    if (!list)
        return NULL;
    if (strcmp(macro, "filter") == 0)
        return unsure ? NULL : kept;
    return decided ? cni_cel_boolean(!every) : unsure ? NULL : cni_cel_boolean(every);
}

static const struct cni_node *call(struct cni_cel *cel, const char *name, const struct cni_node *of)
{
    static const char *const texts[] = {"matches", "contains", "startsWith", "endsWith"};
    static const char *const macros[] = {"all", "exists", "filter"};
    const struct cni_node *result = NULL;
    bool known = false;
    if (strcmp(name, "size") == 0) {
        result = cni_cel_size_of(cel, of);
        known = true;
    }
    for (size_t i = 0; !known && i < sizeof(texts) / sizeof(texts[0]); i++)
        if (strcmp(name, texts[i]) == 0) {
            result = cni_cel_on_text(cel, name, of, expression(cel));
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

static const struct cni_node *variable(struct cni_cel *cel, const char *name)
{
    for (const struct cni_cel_variable *at = cel->variables; at; at = at->outer)
        if (strcmp(at->name, name) == 0)
            return at->value;
    cel->unknown = true;
    return NULL;
}

static const struct cni_node *named(struct cni_cel *cel)
{
    char word[WORD_BYTES];
    if (!take_word(cel, word)) {
        cel->unknown = true;
        return NULL;
    }
    if (strcmp(word, "true") == 0 || strcmp(word, "false") == 0)
        return cni_cel_boolean(*word == 't');
    bool has = strcmp(word, "has") == 0;
    if (!has && strcmp(word, "size") != 0)
        return variable(cel, word);
    need(cel, "(");
    const struct cni_node *of = expression(cel);
    need(cel, ")");
    return has ? cni_cel_boolean(cni_cel_is_present(of)) : cni_cel_size_of(cel, of);
}

static const struct cni_node *primary(struct cni_cel *cel)
{
    skip_blanks(cel);
    if (*cel->at == '"' || *cel->at == '\'')
        return quoted(cel);
    if (isdigit((unsigned char)*cel->at)) {
        char *end;
        const struct cni_node *number = cni_cel_integer(cel, strtoll(cel->at, &end, 10));
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

static const struct cni_node *chain(struct cni_cel *cel)
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

static const struct cni_node *negation(struct cni_cel *cel)
{
    bool inverted = false, any = false;
    while (take(cel, "!")) {
        inverted = !inverted;
        any = true;
    }
    const struct cni_node *of = chain(cel);
    if (!any)
        return of;
    return of && of->kind == CNI_BOOL ? cni_cel_boolean((of->integer != 0) != inverted) : NULL;
}

static const struct cni_node *comparison(struct cni_cel *cel)
{
    static const char *const signs[] = {"==", "!=", ">=", "<=", ">", "<"};
    const struct cni_node *one = negation(cel);
    skip_blanks(cel);
    if (strncmp(cel->at, "in", 2) == 0 && !isalnum((unsigned char)cel->at[2])) {
        cel->at += 2;
        return cni_cel_is_in(cel, one, negation(cel));
    }
    for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
        if (!take(cel, signs[i]))
            continue;
        const struct cni_node *two = negation(cel), *same = cni_cel_equal(one, two);
        if (i < 2)
            return same ? cni_cel_boolean((same->integer != 0) == (i == 0)) : NULL;
        if (!one || !two || one->kind != CNI_INT || two->kind != CNI_INT)
            return NULL;
        return cni_cel_boolean(i == 2   ? one->integer >= two->integer
                               : i == 3 ? one->integer <= two->integer
                               : i == 4 ? one->integer > two->integer
                                        : one->integer < two->integer);
    }
    return one;
}

static const struct cni_node *conjunction(struct cni_cel *cel)
{
    const struct cni_node *all = comparison(cel);
    while (!cel->unknown && take(cel, "&&"))
        all = cni_cel_joined(all, comparison(cel), false);
    return all;
}

static const struct cni_node *expression(struct cni_cel *cel)
{
    if (++cel->depth > DEPTH_MAX)
        cel->unknown = true;
    const struct cni_node *any = cel->unknown ? NULL : conjunction(cel);
    while (!cel->unknown && take(cel, "||"))
        any = cni_cel_joined(any, conjunction(cel), true);
    cel->depth--;
    return any;
}

enum cni_cel_verdict cni_cel_check(struct cni_arena *arena, const char *rule,
                                   const struct cni_node *self)
{
    const struct cni_cel_variable bound = {.name = "self", .value = self};
    struct cni_cel cel = {.arena = arena, .at = rule, .variables = &bound};
    const struct cni_node *result = expression(&cel);
    skip_blanks(&cel);
    if (cel.unknown || *cel.at || !result || result->kind != CNI_BOOL)
        return CNI_CEL_UNKNOWN;
    return result->integer ? CNI_CEL_HOLDS : CNI_CEL_BROKEN;
}
