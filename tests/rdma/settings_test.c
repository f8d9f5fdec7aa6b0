/*
 * What SHOAL_IB_* settings make of queue pairs: how many there are, and what devices are told.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "rdma/in_place_world.h"

#include <errno.h>

static bool lanes_are(void *arg)
{
    const struct life *want = arg;
    return shl_verbs_direct_lanes(&link_of(want->world, 0, 1)->direct) == want->count &&
           shl_verbs_direct_lanes(&link_of(want->world, 1, 0)->direct) == want->count;
}

/* ---- several queue pairs a rail -------------------------------------------------------------- */

static uint32_t wanted[2];

static void want_qps(void)
{
    configs[0].ib_qps = wanted[0];
    configs[1].ib_qps = wanted[1];
}

/* Both ends use the lesser number, all lanes carry, and one that breaks takes its rail along, at
 * both ends, and nothing else. */
static void rails_have_several_queue_pairs(void **state)
{
    static const uint32_t numbers[][2] = {{1, 1}, {4, 4}, {3, 2}, {1, 4}};
    (void)state;
    for (uint32_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        uint32_t lesser = numbers[i][0] < numbers[i][1] ? numbers[i][0] : numbers[i][1];
        memcpy(wanted, numbers[i], sizeof(wanted));
        adjust = want_qps;
        struct world *world = world_open(&adapter, 2, 1);
        struct shl_verbs_link *sender = link_of(world, 0, 1);
        world->ranks[0].t->register_bytes = world->ranks[1].t->register_bytes = 64 * KIB;
        CHECK(world, lanes_are(&(struct life){world, (uint64_t)RAILS * lesser}));
        const uint64_t sizes[] = {64 * KIB, 384 * KIB, 16 * MIB + 1};
        for (uint32_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
            struct parcel parcel = {.bytes = sizes[k]};
            parcel_move(world, k, &parcel);
        }
        for (uint32_t lane = 0; lane < SHL_VERBS_LANES; lane++)
            CHECK(world, (sender->direct.lanes[lane].requested > 0) ==
                             (lane / SHL_VERBS_RAILS < lesser && lane % SHL_VERBS_RAILS < RAILS));
        struct parcel parcel = {.bytes = 16 * MIB};
        uint64_t sent = sender->direct.bytes_sent;
        parcel_post(world, 9, &parcel);
        while (sender->direct.bytes_sent == sent)
            world_poll(world);
        break_pair(sender->direct.lanes[1 + SHL_VERBS_RAILS * (lesser - 1)].qp);
        world_run(world, message_done, &parcel.message);
        parcel_check(world, &parcel);
        world_run(world, has_begun, &(struct life){world, 1});
        CHECK(world, lanes_are(&(struct life){world, (uint64_t)(RAILS - 1) * lesser}));
        parcel_move(world, 10, &parcel);
        CHECK(world, nobody_is_lost(world));
        world_close(world);
    }
}

/* Numbers of pairs that a peer resets out of turn, or has more of than there are. */
static void illegal_resets_lose_the_link(void **state)
{
    static const struct shl_verbs_frame illegal[] = {
        {.type = SHL_VERBS_RESET, .offset = 1, .window = 1},
        {.type = SHL_VERBS_RESET, .offset = 1, .window = 4000000000},
        {.type = SHL_VERBS_RESET, .offset = 2, .window = 0},
    };
    (void)state;
    for (uint32_t i = 0; i < sizeof(illegal) / sizeof(illegal[0]); i++) {
        wanted[0] = wanted[1] = 2;
        adjust = want_qps;
        struct world *world = world_open(&adapter, 2, 1);
        struct shl_verbs_link *liar = link_of(world, 0, 1);
        shl_list_append(&liar->outbox, &shl_verbs_note_new(liar, &illegal[i])->link);
        shl_verbs_flush(liar);
        world_run(world, link_is_lost, link_of(world, 1, 0));
        CHECK(world, world->ranks[1].lost_calls[0] == 1);
        world_close(world);
    }
}

/* ---- what devices are told ------------------------------------------------------------------- */

static atomic_uint told, strange;
static int error_of_partition;

static int check_modify(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask)
{
    bool good = true;
    if (mask & IBV_QP_PKEY_INDEX && error_of_partition)
        return error_of_partition;
    if (attr->qp_state == IBV_QPS_RTR)
        good = attr->ah_attr.sl == 5 && attr->ah_attr.grh.traffic_class == 104 &&
               attr->ah_attr.grh.hop_limit == 7;
    else if (attr->qp_state == IBV_QPS_RTS)
        good = attr->timeout == 15 && attr->retry_cnt == 3;
    else if (attr->qp_state == IBV_QPS_INIT)
        good = mask & IBV_QP_PKEY_INDEX && attr->pkey_index == 0;
    told += attr->qp_state != IBV_QPS_ERR;
    strange += !good;
    return verbs->modify_qp(qp, attr, mask);
}

static void set_all(void)
{
    for (uint32_t i = 0; i < 2; i++) {
        configs[i].ib_service_level = 5;
        configs[i].ib_traffic_class = 104;
        configs[i].ib_hop_limit = 7;
        configs[i].ib_timeout = 15;
        configs[i].ib_retry = 3;
    }
}

static void devices_are_told_all_settings(void **state)
{
    struct shl_verbs_sys table = *shl_verbs;
    (void)state;
    table.modify_qp = check_modify;
    shl_verbs = &table;
    adjust = set_all;
    told = strange = 0;
    struct world *world = world_open(&adapter, 2, 1);
    /* Three states for the pair of frames and each direct pair, at two ends. */
    CHECK(world, told == 2 * 3 * (1 + RAILS * qps) && strange == 0);
    struct parcel parcel = {.bytes = 8 * MIB};
    parcel_move(world, 0, &parcel);
    world_close(world);
}

/* A device that refuses its partition: nobody is reached, and the reason is kept. */
static void a_refused_partition_is_told(void **state)
{
    struct shl_verbs_sys table = *shl_verbs;
    struct world *world = NULL;
    (void)state;
    table.modify_qp = check_modify;
    shl_verbs = &table;
    error_of_partition = EINVAL;
    CHECK_OK(world, world_create(&adapter, 2, 1, &world));
    error_of_partition = 0;
    CHECK(world, !world->ranks[0].reaches[1] && !world->ranks[1].reaches[0]);
    char text[400];
    world->ops->explain(world->ranks[0].t, 1, text, sizeof(text));
    CHECK(world, strstr(text, "a queue pair cannot be initialised") != NULL ||
                     strstr(text, "its log says why") != NULL ||
                     strstr(text, "it ended its channel") != NULL);
    world_close(world);
}

/* ---- the nearest device ---------------------------------------------------------------------- */

static uint32_t near_number[2]; /* of the device that is near to this rank */

static bool near_one(uint32_t rank, const char *device, struct shl_near *near)
{
    bool same = device[strlen(device) - 1] == (char)('0' + near_number[rank]);
    near->distance = same ? 0 : 2 * SHL_NEAR_UNKNOWN;
    return true;
}

static bool near_first_rank(const char *device, const char *interface, struct shl_near *near)
{
    (void)interface;
    return near_one(0, device, near);
}

static bool near_second_rank(const char *device, const char *interface, struct shl_near *near)
{
    (void)interface;
    return near_one(1, device, near);
}

static void know_nearness(struct world *world)
{
    world->ranks[0].env.near = near_first_rank;
    world->ranks[1].env.near = near_second_rank;
}

/* Frames begin by the rail that is nearest to the lower rank, whatever the other would choose; and
 * leave it when it fails. */
static void frames_go_by_the_nearest_rail(void **state)
{
    (void)state;
    for (uint32_t first = 0; first < RAILS; first++) {
        near_number[0] = first;
        near_number[1] = (first + 1) % RAILS;
        adjust_world = know_nearness;
        struct world *world = world_open(&adapter, 2, 1);
        struct message_plan plan = {.from = 0, .to = 1, .seq = 2, .bytes = 3000};
        CHECK(world, world->ranks[0].t->nearest == near_number[0]);
        CHECK(world, world->ranks[1].t->nearest == near_number[1]);
        for (uint32_t rank = 0; rank < 2; rank++) {
            CHECK(world, link_of(world, rank, 1 - rank)->rail == first);
            CHECK(world, link_of(world, rank, 1 - rank)->qp_rail == first);
        }
        message_exchange(world, &plan);
        break_pair(link_of(world, 1, 0)->qp);
        plan.seq = 3;
        plan.bytes = MIB;
        message_exchange(world, &plan);
        CHECK(world, link_of(world, 0, 1)->rail != first && nobody_is_lost(world));
        world_close(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(rails_have_several_queue_pairs, set_up),
        cmocka_unit_test_setup(illegal_resets_lose_the_link, set_up),
        cmocka_unit_test_setup(devices_are_told_all_settings, set_up),
        cmocka_unit_test_setup(frames_go_by_the_nearest_rail, set_up),
        cmocka_unit_test_setup(a_refused_partition_is_told, set_up),
    };
    begin();
    return cmocka_run_group_tests_name("verbs_settings", tests, NULL, NULL);
}
