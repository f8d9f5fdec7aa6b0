/*
 * Values to texts that the parser would accept again, and the digest that ranks compare.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/config_internal.h"

#include <stdio.h>
#include <string.h>

#define TEXT_BYTES 512

static void print_bytes(uint64_t number, char *text, size_t capacity)
{
    static const char letters[] = "KMGT";
    size_t power = 0;
    while (number && number % 1024 == 0 && power < sizeof(letters) - 1) {
        number /= 1024;
        power++;
    }
    if (power)
        snprintf(text, capacity, "%llu%c", (unsigned long long)number, letters[power - 1]);
    else
        snprintf(text, capacity, "%llu", (unsigned long long)number);
}

static void print_set(const struct shl_config_key *key, uint32_t mask, char *text, size_t capacity)
{
    size_t used = 0;
    text[0] = 0;
    for (uint32_t i = 0; key->names[i] && used < capacity; i++)
        if (mask >> i & 1)
            used += (size_t)snprintf(text + used, capacity - used, "%s%s", used ? "," : "",
                                     key->names[i]);
}

/* Returns `text`, or the value itself when it is a string. */
static const char *print_value(const struct shl_config_key *key, union shl_config_value value,
                               char *text, size_t capacity)
{
    switch (key->type) {
    case SHL_CONFIG_BOOL:
        return value.flag ? "1" : "0";
    case SHL_CONFIG_U64:
        snprintf(text, capacity, "%llu", (unsigned long long)value.number);
        return text;
    case SHL_CONFIG_BYTES:
        print_bytes(value.number, text, capacity);
        return text;
    case SHL_CONFIG_CHOICE:
        return key->names[value.index];
    case SHL_CONFIG_SET:
        print_set(key, value.index, text, capacity);
        return text;
    case SHL_CONFIG_STRING:
        break;
    }
    return key->secret ? (*value.text ? "set" : "unset") : value.text;
}

static const char *print_origin(const struct shl_config *config,
                                const struct shl_config_origin *origin, char *text, size_t capacity)
{
    switch (origin->source) {
    case SHL_CONFIG_FILE:
        snprintf(text, capacity, "%s:%u", config->config_file, origin->line);
        return text;
    case SHL_CONFIG_ENVIRONMENT:
        return "environment";
    case SHL_CONFIG_CALLER:
        return "caller";
    case SHL_CONFIG_DEFAULT:
        break;
    }
    return "default";
}

void shl_config_print(const struct shl_config *config,
                      void (*line)(void *arg, const char *key, const char *value,
                                   const char *source, const char *help),
                      void *arg)
{
    for (unsigned i = 0; i < SHL_CONFIG_KEY_COUNT; i++) {
        const struct shl_config_key *key = &shl_config_keys[i];
        char text[TEXT_BYTES], source[TEXT_BYTES];
        const char *value = print_value(key, shl_config_value_get(config, key), text, sizeof(text));
        line(arg, key->name, value,
             print_origin(config, &config->origins[i], source, sizeof(source)), key->help);
    }
}

/* ---- digest ----------------------------------------------------------------------------- */

/* FNV-1a, 64 bit: Fowler, Noll, Vo. Against accidents only; the handshake keeps enemies out. */
static uint64_t mix(uint64_t hash, const void *data, size_t bytes)
{
    const unsigned char *at = data;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ at[i]) * 0x100000001b3u;
    return hash;
}

uint64_t shl_config_digest(const struct shl_config *config)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (unsigned i = 0; i < SHL_CONFIG_KEY_COUNT; i++) {
        const struct shl_config_key *key = &shl_config_keys[i];
        if (!key->agree)
            continue;
        char text[TEXT_BYTES];
        const char *value = print_value(key, shl_config_value_get(config, key), text, sizeof(text));
        hash = mix(hash, key->name, strlen(key->name) + 1);
        hash = mix(hash, value, strlen(value) + 1);
    }
    return hash;
}
