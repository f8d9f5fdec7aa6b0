/*
 * Settings as "KEY=value" strings: the environment, and the caller's own.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/config_internal.h"

#include <stdio.h>
#include <string.h>

/* Far above any key, far below anything that hurts. */
#define NAME_BYTES 128

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static bool ends_with(const char *text, const char *end)
{
    size_t text_length = strlen(text), end_length = strlen(end);
    return text_length >= end_length && strcmp(text + text_length - end_length, end) == 0;
}

/*
 * Kubernetes gives every pod variables for each service of its namespace. For services named shoal
 * or shoal-something they begin with SHOAL_ (SHOAL_SERVICE_HOST, SHOAL_PORT=tcp://10.0.0.7:29500,
 * SHOAL_PORT_29500_TCP_ADDR) and are not meant for us.
 */
static bool is_service_variable(const char *name, const char *value)
{
    static const char *const protocols[] = {"_TCP", "_UDP", "_SCTP"};
    static const char *const parts[] = {"", "_PROTO", "_PORT", "_ADDR"};
    if (ends_with(name, "_SERVICE_HOST") || strstr(name, "_SERVICE_PORT"))
        return true;
    if (ends_with(name, "_PORT") && strstr(value, "://"))
        return true;
    if (!strstr(name, "_PORT_"))
        return false;
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < 4; j++) {
            char end[16];
            snprintf(end, sizeof(end), "%s%s", protocols[i], parts[j]);
            if (ends_with(name, end))
                return true;
        }
    }
    return false;
}

/* The value behind "=", with the name copied out; NULL when there is no "=" or no such short name.
 */
static const char *split_setting(const char *setting, char *name)
{
    const char *equals = strchr(setting, '=');
    if (!equals)
        return NULL;
    size_t length = (size_t)(equals - setting);
    snprintf(name, NAME_BYTES, "%.*s", (int)(length < NAME_BYTES ? length : NAME_BYTES - 1),
             setting);
    return equals + 1;
}

/* For the test programs themselves; one of them is a setting of the library. */
static bool is_test_variable(const char *name)
{
    return starts_with(name, "SHOAL_TEST_") && strcmp(name, "SHOAL_TEST_FAULT") != 0;
}

enum shoal_status shl_config_read_environment(struct shl_config_loader *loader,
                                              char *const *environment)
{
    const struct shl_config_origin origin = {.source = SHL_CONFIG_ENVIRONMENT};
    for (; *environment; environment++) {
        char name[NAME_BYTES];
        const char *value = NULL;
        if (starts_with(*environment, SHL_CONFIG_PREFIX))
            value = split_setting(*environment, name);
        if (!value || is_test_variable(name) || is_service_variable(name, value))
            continue;
        enum shl_config_number number;
        SHL_TRY(shl_config_find(name, false, "environment", &number));
        SHL_TRY(shl_config_assign(loader, number, value, origin, "environment"));
    }
    return SHOAL_OK;
}

enum shoal_status shl_config_read_settings(struct shl_config_loader *loader,
                                           const char *const *settings, size_t count)
{
    const struct shl_config_origin origin = {.source = SHL_CONFIG_CALLER};
    for (size_t i = 0; i < count; i++) {
        char name[NAME_BYTES], where[48];
        snprintf(where, sizeof(where), "setting %zu of the call", i);
        const char *value = settings[i] ? split_setting(settings[i], name) : NULL;
        if (!value) /* not quoted: it may hold a secret */
            return shl_fail(SHOAL_ERR_CONFIG, "%s has no \"=\"; write SHOAL_KEY=value", where);
        enum shl_config_number number;
        SHL_TRY(shl_config_find(name, false, where, &number));
        SHL_TRY(shl_config_assign(loader, number, value, origin, where));
    }
    return SHOAL_OK;
}
