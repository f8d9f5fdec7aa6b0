/*
 * Texts to values. Every refusal names the place, the key, the text and what is allowed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/config_internal.h"
#include "core/suggest.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define LIST_BYTES 256

static enum shoal_status parse_bool(const struct shl_config_key *key, const char *text,
                                    const char *where, bool *flag)
{
    static const char *const yes[] = {"1", "true", "yes", "on"};
    static const char *const no[] = {"0", "false", "no", "off"};
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *flag = strcasecmp(text, yes[i]) == 0;
            return SHOAL_OK;
        }
    }
    return shl_fail(SHOAL_ERR_CONFIG, "%s: %s is \"%.80s\"; give 1 or 0", where, key->name, text);
}

/* Digits only: no sign, no blanks, no overflow. Leaves *end behind the last digit. */
static bool parse_digits(const char *text, const char **end, uint64_t *number)
{
    uint64_t value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value))
            return false;
    *end = at;
    *number = value;
    return at != text;
}

/* "", K, M, G, T, or these with iB: powers of 1024. */
static bool parse_suffix(const char *text, uint64_t *number)
{
    static const char letters[] = "KMGT";
    if (!*text)
        return true;
    const char *letter = strchr(letters, *text >= 'a' ? *text - 'a' + 'A' : *text);
    if (!letter || (text[1] && strcmp(text + 1, "iB") != 0))
        return false;
    for (const char *at = letters; at <= letter; at++)
        if (__builtin_mul_overflow(*number, 1024u, number))
            return false;
    return true;
}

static enum shoal_status parse_number(const struct shl_config_key *key, const char *text,
                                      const char *where, uint64_t *number)
{
    const char *end = text;
    uint64_t value = 0;
    bool legal = parse_digits(text, &end, &value);
    if (legal)
        legal = key->type == SHL_CONFIG_BYTES ? parse_suffix(end, &value) : !*end;
    if (!legal || value < key->min || value > key->max)
        return shl_fail(
            SHOAL_ERR_CONFIG, "%s: %s is \"%.80s\"; give a whole number from %llu to %llu%s", where,
            key->name, text, (unsigned long long)key->min, (unsigned long long)key->max,
            key->type == SHL_CONFIG_BYTES ? " bytes, with K, M, G or T if you like" : "");
    *number = value;
    return SHOAL_OK;
}

static void list_names(const struct shl_config_key *key, char *text, size_t capacity)
{
    size_t used = 0;
    text[0] = 0;
    for (size_t i = 0; key->names[i] && used < capacity; i++)
        used +=
            (size_t)snprintf(text + used, capacity - used, "%s%s", i ? ", " : "", key->names[i]);
}

static enum shoal_status parse_name(const struct shl_config_key *key, const char *name,
                                    const char *where, uint32_t *index)
{
    for (uint32_t i = 0; key->names[i]; i++) {
        if (strcmp(name, key->names[i]) == 0) {
            *index = i;
            return SHOAL_OK;
        }
    }
    char allowed[LIST_BYTES];
    list_names(key, allowed, sizeof(allowed));
    const char *nearest = shl_suggest(name, key->names);
    return shl_fail(SHOAL_ERR_CONFIG, "%s: %s is \"%.80s\"; allowed: %s%s%s%s", where, key->name,
                    name, allowed, nearest ? "; did you mean " : "", nearest ? nearest : "",
                    nearest ? "?" : "");
}

static enum shoal_status parse_set(const struct shl_config_key *key, const char *text,
                                   const char *where, uint32_t *mask)
{
    uint32_t collected = 0;
    const char *at = text;
    for (;;) {
        char name[64];
        size_t length = strcspn(at, ",");
        snprintf(name, sizeof(name), "%.*s", (int)(length < 63 ? length : 63), at);
        uint32_t index = 0;
        SHL_TRY(parse_name(key, name, where, &index));
        collected |= 1u << index;
        if (!at[length])
            break;
        at += length + 1;
    }
    *mask = collected;
    return SHOAL_OK;
}

enum shoal_status shl_config_parse(const struct shl_config_key *key, const char *text,
                                   const char *where, union shl_config_value *value)
{
    switch (key->type) {
    case SHL_CONFIG_BOOL:
        return parse_bool(key, text, where, &value->flag);
    case SHL_CONFIG_U64:
    case SHL_CONFIG_BYTES:
        return parse_number(key, text, where, &value->number);
    case SHL_CONFIG_CHOICE:
        return parse_name(key, text, where, &value->index);
    case SHL_CONFIG_SET:
        return parse_set(key, text, where, &value->index);
    case SHL_CONFIG_STRING:
        break;
    }
    value->text = text;
    return SHOAL_OK;
}
