/*
 * Steps that last one commit later: a world of one, whose state is refreshed by functions of the
 * test.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/views/views.h"
#include "support/test.h"
#include "unit/elastic/views/cell.h"

#include <shoal/shoal.h>

struct alone {
    struct cell cell;
    struct shoal_context *context;
    struct shoal_world *world;
};

static int join(void **state)
{
    static struct alone alone;
    cell_open(&alone.cell);
    struct shoal_store store = cell_store(&alone.cell);
    struct shoal_world_options options = {.struct_size = sizeof(options),
                                          .world_start = 1,
                                          .world_min = 1,
                                          .step_mode = SHOAL_STEP_ABORT,
                                          .custom_store = &store};
    ASSERT_OK(shoal_context_create(NULL, &alone.context));
    ASSERT_OK(shoal_world_join(alone.context, &options, &alone.world));
    *state = &alone;
    return 0;
}

static int end(void **state)
{
    struct alone *alone = *state;
    ASSERT_OK(shoal_world_destroy(alone->world));
    ASSERT_OK(shoal_context_destroy(alone->context));
    cell_close(&alone->cell);
    return 0;
}

static enum shoal_status nothing(void *arg)
{
    (void)arg;
    return SHOAL_OK;
}

static void nothing_at_all(void *arg)
{
    (void)arg;
}

static enum shoal_status settle_nothing(void *arg, struct shoal_comm *comm,
                                        const struct shl_members *members)
{
    (void)arg, (void)comm, (void)members;
    return SHOAL_OK;
}

/* Once it takes too long, on all members alike. */
static enum shoal_status refresh_late(void *arg, struct shoal_comm *comm,
                                      const struct shl_members *members)
{
    uint32_t *times = arg;
    (void)comm, (void)members;
    return (*times)++ ? SHOAL_OK : shl_fail(SHOAL_ERR_TIMEOUT, "not in time");
}

/* The program has ended its step, and uses its results. The world of one makes it safe at once,
 * where it can. */
static void a_step_that_cannot_be_made_safe_at_once_is_over_all_the_same(void **state)
{
    struct shoal_world *world = ((struct alone *)*state)->world;
    uint32_t times = 0;
    struct shl_follower follower = {.arg = &times,
                                    .behind = true,
                                    .settle = {.run = settle_nothing},
                                    .refresh = {.run = refresh_late, .arg = &times},
                                    .begin = nothing_at_all,
                                    .keep = nothing_at_all,
                                    .settled = nothing,
                                    .committed = nothing_at_all};
    struct shoal_step step = {.struct_size = sizeof(step)};
    struct shoal_view view = {.struct_size = sizeof(view)};
    ASSERT_OK(shl_views_attach(world, &follower));
    ASSERT_OK(shoal_step_begin(world, &step));
    ASSERT_OK(shoal_step_commit(world, 3));
    ASSERT_OK(shoal_world_view(world, &view));
    assert_int_equal(view.step, 0);
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_step_abort(world)); /* none is open */
    ASSERT_OK(shoal_step_begin(world, &step));
    assert_int_equal(step.step, 1);
    assert_int_equal(step.position, 3);
    ASSERT_OK(shoal_step_commit(world, 4));
    ASSERT_OK(shoal_world_view(world, &view));
    assert_int_equal(view.step, 2);
    assert_int_equal(view.position, 7);
    assert_int_equal(times, 3);
    shl_views_detach(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_step_that_cannot_be_made_safe_at_once_is_over_all_the_same, join, end),
    };
    return cmocka_run_group_tests_name("behind", tests, NULL, NULL);
}
