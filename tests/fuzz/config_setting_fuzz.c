/*
 * Settings as a caller or the environment gives them, one a line: each is taken, or refused with a
 * detail line. What was taken prints to settings that are taken again and mean the same.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/config.h"
#include "fuzz/fuzz.h"

#include <string.h>

#define SETTINGS_MAX 16
#define PRINTED_MAX 128

struct printed {
    char *settings[PRINTED_MAX];
    size_t count;
};

static void append_setting(void *arg, const char *key, const char *value, const char *source,
                           const char *help)
{
    struct printed *printed = arg;
    size_t bytes = strlen(key) + strlen(value) + 2;
    (void)source;
    (void)help;
    if (strcmp(key, "SHOAL_SECRET") == 0)
        return; /* never printed */
    FUZZ_REQUIRE(printed->count < PRINTED_MAX);
    char *setting = malloc(bytes);
    FUZZ_REQUIRE(setting != NULL);
    snprintf(setting, bytes, "%s=%s", key, value);
    printed->settings[printed->count++] = setting;
}

static void check_round_trip(const struct shl_config *config)
{
    char *no_environment[] = {NULL};
    struct printed printed = {.count = 0};
    struct shl_config again;
    shl_config_print(config, append_setting, &printed);
    struct shl_config_options options = {.settings = (const char *const *)printed.settings,
                                         .setting_count = printed.count,
                                         .environment = no_environment};
    FUZZ_REQUIRE(shl_config_load(&options, &again) == SHOAL_OK);
    FUZZ_REQUIRE(shl_config_digest(&again) == shl_config_digest(config));
    FUZZ_REQUIRE(again.timeout_ms == config->timeout_ms && again.nt_bytes == config->nt_bytes);
    FUZZ_REQUIRE(strcmp(again.job, config->job) == 0);
    shl_config_free(&again);
    for (size_t i = 0; i < printed.count; i++)
        free(printed.settings[i]);
}

static void load(const char *const *settings, size_t count, char *const *environment)
{
    struct shl_config config;
    struct shl_config_options options = {
        .settings = settings, .setting_count = count, .environment = environment};
    shl_error_set("");
    enum shoal_status status = shl_config_load(&options, &config);
    if (status == SHOAL_OK) {
        check_round_trip(&config);
        shl_config_free(&config);
    } else {
        FUZZ_REQUIRE(status == SHOAL_ERR_CONFIG);
        FUZZ_REQUIRE(shl_error_text()[0] != 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    char *lines[SETTINGS_MAX + 1] = {NULL};
    size_t count = 0;
    char *text = malloc(bytes + 1);
    FUZZ_REQUIRE(text != NULL);
    memcpy(text, data, bytes);
    text[bytes] = 0;
    for (char *line = strtok(text, "\n"); line != NULL && count < SETTINGS_MAX;
         line = strtok(NULL, "\n"))
        lines[count++] = line;

    char *no_environment[] = {NULL};
    load((const char *const *)lines, count, no_environment);
    load(NULL, 0, lines);
    free(text);
    return 0;
}
