/*
 * Settings for a test.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/config.h"

#include "support/test.h"

void shl_test_config(struct shl_config *config, const char *const *settings)
{
    char *const no_environment[] = {NULL};
    struct shl_config_options sources = {.environment = no_environment, .settings = settings};
    while (settings && settings[sources.setting_count])
        sources.setting_count++;
    ASSERT_OK(shl_config_load(&sources, config));
}
