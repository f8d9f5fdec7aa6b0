/*
 * A worker that comes later, and whose program has its world before it is let in
 * (shoal_world_options.catch_up): a learner. Its first step brings over what state can be had while
 * the members go on; after that, or with any other call that needs a view, it asks to be let in.
 *
 * Invariant: `learning` is true only before the first view, and is set false before the node is
 * told that this worker has caught up.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/views/views.h"

bool shl_views_learn(struct shoal_world *world)
{
    enum shl_step_mode mode = shl_node_learns(world->node);
    if (!world->options.world.catch_up || !mode || world->usable)
        return false;
    world->learning = true;
    world->log->mode = mode; /* what may be registered depends on it */
    return true;
}

void shl_views_catch_up(struct shoal_world *world)
{
    const struct shl_follower *follower = world->follower;
    if (!world->learning || world->ended || !follower || !follower->catch_up)
        return;
    pthread_mutex_unlock(&world->lock);
    follower->catch_up(follower->arg);
    pthread_mutex_lock(&world->lock);
}

void shl_views_caught_up(struct shoal_world *world)
{
    world->learning = false;
    pthread_mutex_unlock(&world->lock);
    shl_node_caught_up(world->node);
    pthread_mutex_lock(&world->lock);
}
