/*
 * Collecting the sources into one configuration.
 *
 * Sources are read weakest first, every value is parsed where it is met (a bad value in a file is
 * an error even when the environment overrides it), and only a complete result is handed out.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/config.h"

#include "core/config_internal.h"
#include "core/sys.h"

#include <string.h>
#include <unistd.h>

struct shl_config_text {
    struct shl_config_text *next;
    char text[];
};

enum shoal_status shl_config_keep(struct shl_config_loader *loader, const char *text, size_t bytes,
                                  const char **kept)
{
    struct shl_config_text *copy = shl_mem->alloc(sizeof(*copy) + bytes + 1);
    if (!copy)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for the configuration");
    memcpy(copy->text, text, bytes);
    copy->next = loader->texts;
    loader->texts = copy;
    *kept = copy->text;
    return SHOAL_OK;
}

void shl_config_drop(struct shl_config_loader *loader)
{
    while (loader->texts) {
        struct shl_config_text *next = loader->texts->next;
        shl_mem->free(loader->texts);
        loader->texts = next;
    }
}

enum shoal_status shl_config_assign(struct shl_config_loader *loader, enum shl_config_number number,
                                    const char *text, struct shl_config_origin origin,
                                    const char *where)
{
    SHL_TRY(shl_config_parse(&shl_config_keys[number], text, where, &loader->values[number]));
    loader->origins[number] = origin;
    return SHOAL_OK;
}

/* ---- reading ---------------------------------------------------------------------------- */

static enum shoal_status read_defaults(struct shl_config_loader *loader)
{
    const struct shl_config_origin origin = {.source = SHL_CONFIG_DEFAULT};
    for (unsigned i = 0; i < SHL_CONFIG_KEY_COUNT; i++)
        SHL_TRY(shl_config_assign(loader, (enum shl_config_number)i, shl_config_keys[i].fallback,
                                  origin, "default"));
    return SHOAL_OK;
}

static const char *value_after(const char *entry, const char *name)
{
    size_t length = strlen(name);
    return entry && strncmp(entry, name, length) == 0 && entry[length] == '=' ? entry + length + 1
                                                                              : NULL;
}

/* The file is read before the sources that may name it, so they are asked first. */
static const char *file_to_read(const struct shl_config_options *options, char *const *environment)
{
    const char *name = shl_config_keys[SHL_KEY_config_file].name;
    const char *path = options->file;
    for (size_t i = options->setting_count; !path && i > 0; i--)
        path = value_after(options->settings[i - 1], name);
    for (; !path && *environment; environment++)
        path = value_after(*environment, name);
    return path && *path ? path : NULL;
}

static enum shoal_status check_together(const struct shl_config_loader *loader)
{
    uint64_t heartbeat_ms = loader->values[SHL_KEY_heartbeat_ms].number;
    uint64_t dead_after_ms = loader->values[SHL_KEY_dead_after_ms].number;
    if (dead_after_ms < 2 * heartbeat_ms)
        return shl_fail(SHOAL_ERR_CONFIG,
                        "SHOAL_DEAD_AFTER_MS is %llu, less than two heartbeats of "
                        "SHOAL_HEARTBEAT_MS=%llu; raise it to %llu or more",
                        (unsigned long long)dead_after_ms, (unsigned long long)heartbeat_ms,
                        (unsigned long long)(2 * heartbeat_ms));
    return SHOAL_OK;
}

static enum shoal_status read_sources(struct shl_config_loader *loader,
                                      const struct shl_config_options *options)
{
    const struct shl_config_origin caller = {.source = SHL_CONFIG_CALLER};
    char *const *environment = options->environment ? options->environment : environ;
    static char *const nothing[] = {NULL};
    if (!environment) /* after clearenv() */
        environment = nothing;
    const char *file = file_to_read(options, environment);
    SHL_TRY(read_defaults(loader));
    if (file)
        SHL_TRY(shl_config_read_file(loader, file));
    SHL_TRY(shl_config_read_environment(loader, environment));
    SHL_TRY(shl_config_read_settings(loader, options->settings, options->setting_count));
    if (options->file)
        SHL_TRY(shl_config_assign(loader, SHL_KEY_config_file, options->file, caller, "call"));
    return check_together(loader);
}

/* ---- storing ---------------------------------------------------------------------------- */

/* Strings move into one block that the configuration owns; the sources may vanish. */
static char *pack_strings(struct shl_config_loader *loader)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < SHL_CONFIG_KEY_COUNT; i++)
        if (shl_config_keys[i].type == SHL_CONFIG_STRING)
            bytes += strlen(loader->values[i].text) + 1;
    char *block = shl_mem->alloc(bytes);
    char *at = block;
    for (unsigned i = 0; block && i < SHL_CONFIG_KEY_COUNT; i++) {
        if (shl_config_keys[i].type != SHL_CONFIG_STRING)
            continue;
        size_t length = strlen(loader->values[i].text) + 1;
        loader->values[i].text = memcpy(at, loader->values[i].text, length);
        at += length;
    }
    return block;
}

static void store(struct shl_config *config, const struct shl_config_key *key,
                  union shl_config_value value)
{
    char *field = (char *)config + key->offset;
    switch (key->type) {
    case SHL_CONFIG_BOOL:
        memcpy(field, &value.flag, sizeof(value.flag));
        break;
    case SHL_CONFIG_U64:
    case SHL_CONFIG_BYTES:
        memcpy(field, &value.number, sizeof(value.number));
        break;
    case SHL_CONFIG_STRING:
        memcpy(field, &value.text, sizeof(value.text));
        break;
    case SHL_CONFIG_CHOICE:
    case SHL_CONFIG_SET:
        memcpy(field, &value.index, sizeof(value.index));
        break;
    }
}

union shl_config_value shl_config_value_get(const struct shl_config *config,
                                            const struct shl_config_key *key)
{
    const char *field = (const char *)config + key->offset;
    union shl_config_value value = {.number = 0};
    switch (key->type) {
    case SHL_CONFIG_BOOL:
        memcpy(&value.flag, field, sizeof(value.flag));
        break;
    case SHL_CONFIG_U64:
    case SHL_CONFIG_BYTES:
        memcpy(&value.number, field, sizeof(value.number));
        break;
    case SHL_CONFIG_STRING:
        memcpy(&value.text, field, sizeof(value.text));
        break;
    case SHL_CONFIG_CHOICE:
    case SHL_CONFIG_SET:
        memcpy(&value.index, field, sizeof(value.index));
        break;
    }
    return value;
}

static enum shoal_status finish(struct shl_config_loader *loader, struct shl_config *config)
{
    struct shl_config_origin *origins = shl_mem->alloc(sizeof(loader->origins));
    char *strings = pack_strings(loader);
    if (!origins || !strings) {
        shl_mem->free(origins);
        shl_mem->free(strings);
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for the configuration");
    }
    memcpy(origins, loader->origins, sizeof(loader->origins));
    *config = (struct shl_config){.origins = origins, .strings = strings};
    for (unsigned i = 0; i < SHL_CONFIG_KEY_COUNT; i++)
        store(config, &shl_config_keys[i], loader->values[i]);
    return SHOAL_OK;
}

enum shoal_status shl_config_load(const struct shl_config_options *options,
                                  struct shl_config *config)
{
    static const struct shl_config_options none;
    struct shl_config_loader loader = {.texts = NULL};
    enum shoal_status status = read_sources(&loader, options ? options : &none);
    if (status == SHOAL_OK)
        status = finish(&loader, config);
    shl_config_drop(&loader);
    return status;
}

void shl_config_free(struct shl_config *config)
{
    shl_mem->free(config->origins);
    shl_mem->free(config->strings);
    *config = (struct shl_config){.origins = NULL};
}
