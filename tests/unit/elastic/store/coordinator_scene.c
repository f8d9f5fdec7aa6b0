/*
 * What tests of the coordinator share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit/elastic/store/coordinator_scene.h"

#include "core/log.h"
#include "support/config.h"
#include "support/test.h"

#include <stdio.h>
#include <unistd.h>

struct coordinator_scene scene;

void scene_begin(void)
{
    shl_test_config(&scene.patient, (const char *[]){"SHOAL_STORE_TIMEOUT_MS=30000", NULL});
    shl_test_config(&scene.hasty, (const char *[]){"SHOAL_STORE_TIMEOUT_MS=50", NULL});
    ASSERT_OK(shl_key_derive("0123456789abcdef", 16, "job", &scene.key));
}

int scene_set_up(void **state)
{
    (void)state;
    shl_log_configure(SHL_LOG_OFF, NULL);
    scene_begin();
    shl_test_temp_create(&scene.temp);
    snprintf(scene.journal, sizeof(scene.journal), "%s/journal", scene.temp.path);
    return 0;
}

int scene_tear_down(void **state)
{
    (void)state;
    shl_test_temp_remove(&scene.temp);
    shl_config_free(&scene.patient);
    shl_config_free(&scene.hasty);
    return 0;
}

int scene_remove_journal(void **state)
{
    (void)state;
    unlink(scene.journal);
    return 0;
}

struct shl_coordinator *scene_serve(const char *address, const char *journal)
{
    struct shl_coordinator *coordinator;
    struct shl_coordinator_options options = {.config = &scene.patient,
                                              .address = address,
                                              .job = "job",
                                              .key = &scene.key,
                                              .journal = journal};
    ASSERT_OK(shl_coordinator_serve(&options, &coordinator));
    return coordinator;
}

void scene_join(struct store_user *user, const struct shl_config *config, const char *address)
{
    struct shl_store_options options = {
        .config = config, .address = address, .job = "job", .key = &scene.key};
    ASSERT_OK(store_user_open(user, &options));
}
