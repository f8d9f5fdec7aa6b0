/*
 * One listener and one dialler in one thread, for tests of both.
 *
 * Time is the test's own: it must install a clock.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CONTROL_LISTENER_SCENE_H
#define CONTROL_LISTENER_SCENE_H

#include "control/dial.h"
#include "control/listener.h"

#include <stdbool.h>

#define MS 1000000ull

extern struct shl_key scene_key; /* of the job; the test derives it */

struct scene {
    struct shl_loop loop;
    struct shl_listener listener;
    struct shl_sockaddr address;
    enum shl_welcome verdict;
    int accepted_fd;
    uint32_t accepted; /* connections handed over */
    struct shl_hello hello;
    bool local;

    struct shl_dialler dialler;
    struct shl_dial_target target;
    bool done;
    struct shl_dial_result result;
    char cause[448];
};

/* scene_open - a listener at `address` ("@name": an abstract socket), and a dialler for it. */
enum shoal_status scene_open(struct scene *scene, const char *address);
void scene_close(struct scene *scene);

/* scene_settle - serve what is there; the kernel moves loopback bytes in no time, but not in none.
 */
void scene_settle(struct scene *scene);

/* scene_dial - dial until there is an outcome; back-offs pass at once. */
void scene_dial(struct scene *scene);

/* scene_connect_stranger - a connection that knows nothing of Shoal. */
int scene_connect_stranger(const struct scene *scene);

/* scene_dropped_silently - whether the listener has closed it, and without a word. */
bool scene_dropped_silently(int fd);

/* scene_assert_works - a rank of the job gets in. */
void scene_assert_works(struct scene *scene);

#endif
