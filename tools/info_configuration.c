/*
 * `shoal info`: the effective configuration.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/select.h"
#include "core/config.h"
#include "shoal_info.h"

static void append_key(void *arg, const char *key, const char *value, const char *source,
                       const char *help)
{
    json_t *line = json_object();
    json_object_set_new(line, "key", json_string(key));
    /* A value from the environment may be anything; JSON holds only UTF-8. */
    json_t *text = json_string(value);
    json_object_set_new(line, "value", text ? text : json_string("(not UTF-8)"));
    json_object_set_new(line, "source", json_string(source));
    json_object_set_new(line, "help", json_string(help));
    json_array_append_new(arg, line);
}

static json_t *what_is_wrong(void)
{
    json_t *error = json_string(shoal_last_error());
    return json_pack("{s:o}", "error", error ? error : json_string("(not UTF-8)"));
}

json_t *shoal_info_configuration(void)
{
    struct shl_config config;
    if (shl_config_load(NULL, &config) != SHOAL_OK)
        return what_is_wrong();
    if (shl_forced_check(config.algorithm) != SHOAL_OK) {
        shl_config_free(&config);
        return what_is_wrong();
    }
    json_t *keys = json_array();
    shl_config_print(&config, append_key, keys);
    shl_config_free(&config);
    return json_pack("{s:o}", "keys", keys);
}
