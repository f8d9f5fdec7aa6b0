/*
 * What tests of the coordinator share: settings, the job's key, a folder for the journal.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef COORDINATOR_SCENE_H
#define COORDINATOR_SCENE_H

#include "elastic/store/coordinator.h"
#include "support/store_user.h"
#include "support/temp.h"

struct coordinator_scene {
    struct shl_config patient, hasty; /* a request waits for 30 s, for 50 ms */
    struct shl_key key;               /* of the job "job" */
    struct shl_test_temp temp;
    char journal[SHL_TEST_PATH_BYTES + 32]; /* a path in `temp` */
};

extern struct coordinator_scene scene;

/* Settings and key; all that a process of its own needs. */
void scene_begin(void);

/* Fixtures of cmocka. */
int scene_set_up(void **state);
int scene_tear_down(void **state);
int scene_remove_journal(void **state);

/* A coordinator of the job; journal NULL: none. */
struct shl_coordinator *scene_serve(const char *address, const char *journal);
/* A client of the job. */
void scene_join(struct store_user *user, const struct shl_config *config, const char *address);

#endif
