/*
 * Settings as a caller or the environment gives them, one a line: each is taken, or refused with a
 * detail line.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/config.h"
#include "fuzz/fuzz.h"

#include <string.h>

#define SETTINGS_MAX 16

static void load(const char *const *settings, size_t count, char *const *environment)
{
    struct shl_config config;
    struct shl_config_options options = {
        .settings = settings, .setting_count = count, .environment = environment};
    shl_error_set("");
    enum shoal_status status = shl_config_load(&options, &config);
    if (status == SHOAL_OK) {
        uint64_t digest = shl_config_digest(&config);
        FUZZ_REQUIRE(digest == shl_config_digest(&config));
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
