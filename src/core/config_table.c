/*
 * config.def as a table, and looking keys up in it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/config_internal.h"
#include "core/suggest.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define NONE .min = 0
#define RANGE(low, high) .min = (low), .max = (high)
#define NAMES(...)                                                                                 \
    .names = (const char *const[])                                                                 \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }
#define SCOPE_LOCAL .agree = false
#define SCOPE_AGREE .agree = true
#define SCOPE_SECRET .secret = true

const struct shl_config_key shl_config_keys[SHL_CONFIG_KEY_COUNT] = {
#define SHL_CONFIG_KEY(kind, field, key, value, constraint, scope, text)                           \
    [SHL_KEY_##field] = {.name = (key),                                                            \
                         .help = (text),                                                           \
                         .fallback = (value),                                                      \
                         .type = SHL_CONFIG_##kind,                                                \
                         .offset = offsetof(struct shl_config, field),                             \
                         constraint,                                                               \
                         SCOPE_##scope},
#include "core/config.def"
#undef SHL_CONFIG_KEY
};

/* The names once more, as shl_suggest wants them. */
static const char *const long_names[] = {
#define SHL_CONFIG_KEY(type, field, key, ...) (key),
#include "core/config.def"
#undef SHL_CONFIG_KEY
    NULL};

static const char *const short_names[] = {
#define SHL_CONFIG_KEY(type, field, key, ...) (key) + sizeof(SHL_CONFIG_PREFIX) - 1,
#include "core/config.def"
#undef SHL_CONFIG_KEY
    NULL};

static bool is_short_form(const char *name)
{
    return strncmp(name, SHL_CONFIG_PREFIX, strlen(SHL_CONFIG_PREFIX)) != 0;
}

/* Lower case, as a YAML file spells it; NULL stays NULL. */
static const char *lower(const char *name, char *text, size_t capacity)
{
    size_t i = 0;
    if (!name)
        return NULL;
    for (; name[i] && i + 1 < capacity; i++)
        text[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] - 'A' + 'a' : name[i]);
    text[i] = 0;
    return text;
}

static bool has_upper(const char *text)
{
    for (; *text; text++)
        if (*text >= 'A' && *text <= 'Z')
            return true;
    return false;
}

static bool spells(const char *name, const struct shl_config_key *key, bool short_form)
{
    if (!short_form)
        return strcmp(name, key->name) == 0;
    return !has_upper(name) && strcasecmp(name, key->name + strlen(SHL_CONFIG_PREFIX)) == 0;
}

enum shoal_status shl_config_find(const char *name, bool short_form, const char *where,
                                  enum shl_config_number *number)
{
    bool is_short = short_form && is_short_form(name);
    for (unsigned i = 0; i < SHL_CONFIG_KEY_COUNT; i++) {
        if (spells(name, &shl_config_keys[i], is_short)) {
            *number = (enum shl_config_number)i;
            return SHOAL_OK;
        }
    }
    char text[64], with_prefix[64];
    /* Where only the long form is understood, the short one is still known. */
    bool cut = !is_short && strncasecmp(name, SHL_CONFIG_PREFIX, strlen(SHL_CONFIG_PREFIX)) != 0;
    snprintf(with_prefix, sizeof(with_prefix), "%s%.50s", cut ? SHL_CONFIG_PREFIX : "", name);
    const char *nearest =
        is_short ? shl_suggest(name, short_names) : shl_suggest(with_prefix, long_names);
    if (is_short)
        nearest = lower(nearest, text, sizeof(text));
    if (nearest)
        return shl_fail(SHOAL_ERR_CONFIG, "%s: unknown setting %.80s; did you mean %s?", where,
                        name, nearest);
    return shl_fail(SHOAL_ERR_CONFIG, "%s: unknown setting %.80s; `shoal info` lists all", where,
                    name);
}
