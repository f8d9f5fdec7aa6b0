/*
 * Connecting by rdma_cm, over the stand-ins for libibverbs and librdmacm: what each failure on the
 * way leads to, and that nobody is let in who does not know the secret of the job.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/mac.h"
#include "core/log.h"
#include "rdma/in_place_world.h"
#include "support/verbs_soft.h"
#include "support/verbs_soft_cm.h"
#include "transport/verbs/verbs_cm_address.h"
#include "transport/verbs/verbs_cm_sys.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* Ranks that the fault keeps apart; the cause of the rank that calls, and of the other. */
static void assert_apart(enum verbs_soft_cm_fault fault, const char *caller, const char *called)
{
    struct world *world = NULL;
    verbs_soft_cm_fail(fault);
    assert_int_equal(world_create(&adapter, 2, 1, &world), SHOAL_OK);
    CHECK(world, !world->ranks[0].reaches[1] && !world->ranks[1].reaches[0]);
    if (!strstr(link_of(world, 0, 1)->cause, caller))
        fail_msg("rank 0 says: %s", link_of(world, 0, 1)->cause);
    if (!strstr(link_of(world, 1, 0)->cause, called))
        fail_msg("rank 1 says: %s", link_of(world, 1, 0)->cause);
    world_close(world);
    assert_int_equal(verbs_soft_cm_objects(), 0);
}

static void move_all_kinds(void)
{
    struct world *world = world_open(&adapter, 2, 1);
    char text[512];
    assert_int_equal(link_of(world, 0, 1)->join.state, SHL_VERBS_JOIN_JOINED);
    world->ops->explain(world->ranks[0].t, 1, text, sizeof(text));
    assert_non_null(strstr(text, "rdma_cm"));
    static const uint64_t sizes[] = {0, 8, 8192, 8193, 300000, 2 * MIB};
    for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        parcel_move(world, i, &(struct parcel){.bytes = sizes[i]});
    world->ranks[0].t->register_bytes = world->ranks[1].t->register_bytes = 64 * KIB;
    for (uint32_t i = 0; i < 40; i++) /* in place, more often than there are receive requests */
        parcel_move(world, 100 + i, &(struct parcel){.bytes = 300000 + i});
    CHECK(world, link_of(world, 0, 1)->direct.bytes_sent >= 40 * 300000);
    world_close(world);
    assert_int_equal(verbs_soft_cm_objects(), 0);
}

static void messages_of_all_kinds_arrive(void **state)
{
    (void)state;
    move_all_kinds();
}

static void iwarp_connects_and_tells_by_sends(void **state)
{
    (void)state;
    verbs_soft_be_iwarp(true);
    move_all_kinds();
    verbs_soft_be_iwarp(false);
}

static void an_address_that_is_not_found_is_told(void **state)
{
    (void)state;
    assert_apart(VERBS_SOFT_CM_UNRESOLVED, "address error", "it could not connect");
}

static void a_peer_that_refuses_is_told(void **state)
{
    (void)state;
    assert_apart(VERBS_SOFT_CM_REFUSED, "rejected", "it could not connect");
}

static void a_peer_that_is_silent_is_not_awaited_for_ever(void **state)
{
    (void)state;
    assert_apart(VERBS_SOFT_CM_SILENT, "", ""); /* either may be the first that has waited enough */
}

static void a_peer_that_goes_while_it_is_called_is_told(void **state)
{
    (void)state;
    assert_apart(VERBS_SOFT_CM_GONE, "unreachable", "");
}

static void who_calls_without_the_proof_is_turned_down(void **state)
{
    (void)state;
    assert_apart(VERBS_SOFT_CM_WRONG_CALL, "rejected", "");
}

static void who_answers_without_the_proof_is_left(void **state)
{
    (void)state;
    assert_apart(VERBS_SOFT_CM_WRONG_ANSWER, "does not prove that it is the peer", "");
}

static void another_queue_pair_does_not_call(void **state)
{
    (void)state;
    assert_apart(VERBS_SOFT_CM_OTHER_CALL, "", "");
}

static void another_queue_pair_does_not_answer(void **state)
{
    (void)state;
    assert_apart(VERBS_SOFT_CM_OTHER_ANSWER, "another queue pair answers", "");
}

/* After any of these everything works again. */
static void a_job_without_faults_connects_afterwards(void **state)
{
    (void)state;
    struct world *world = world_open(&adapter, 3, 1);
    parcel_move(world, 0, &(struct parcel){.bytes = MIB});
    world_close(world);
}

/* A call that names what does not exist, a life that is over, or a pair that has been called. */
static void calls_for_other_pairs_are_turned_down(void **state)
{
    (void)state;
    struct world *world = world_open(&adapter, 2, 1);
    struct shl_verbs_link *link = link_of(world, 1, 0);
    struct shl_verbs_join *join = &link->direct.lanes[0].join;
    struct shl_verbs_call call;
    CHECK_OK(world, shl_verbs_proof_show(&link_of(world, 0, 1)->direct.lanes[0].join, &call));
    struct shl_verbs_join fresh = *join;
    fresh.state = SHL_VERBS_JOIN_AWAITED;
    fresh.begun = false;
    struct ibv_device devices[2] = {{.name = "soft0"}, {.name = "soft1"}};
    struct ibv_context contexts[2] = {{.device = &devices[0]}, {.device = &devices[1]}};
    struct rdma_cm_id id = {.verbs = &contexts[0]}, elsewhere = {.verbs = &contexts[1]};
    struct shl_verbs_cm_event event = {.id = &id, .pair = join->told, .call = call};
    CHECK(world, !shl_verbs_join_called(join, &event)); /* it is joined */
    CHECK(world, shl_verbs_join_called(&fresh, &event) && fresh.id == &id);
    for (unsigned wrong = 0; wrong < 8; wrong++) {
        struct shl_verbs_cm_event called = event;
        struct shl_verbs_call other = call;
        fresh.begun = wrong == 7;
        called.id = wrong == 6 ? &elsewhere : &id;
        called.pair += wrong == 7;
        fresh.state = SHL_VERBS_JOIN_AWAITED;
        other.life += wrong == 0;
        other.rank += wrong == 1;
        other.index += wrong == 2;
        other.direct = wrong != 3;
        other.version += wrong == 4;
        other.mac[31] ^= wrong == 5;
        called.call = other;
        CHECK(world, !shl_verbs_join_called(&fresh, &called));
    }
    world_close(world);
}

static enum shoal_status prove(const struct shl_verbs_proof *proof, const uint8_t key[32],
                               struct shl_verbs_call *call)
{
    return shl_mac_compute(key, proof, sizeof(*proof), call->mac);
}

/* Under another secret the same words prove nothing, neither of a call nor of an answer. */
static void another_secret_proves_nothing(void **state)
{
    static const uint8_t other_key[32] = {1};
    struct world *world = world_open(&adapter, 2, 1);
    (void)state;
    for (uint32_t rank = 0; rank < 2; rank++) {
        const struct shl_verbs_join *from = &link_of(world, rank, 1 - rank)->join,
                                    *to = &link_of(world, 1 - rank, rank)->join;
        struct shl_verbs_call call;
        struct shl_verbs_proof proof;
        CHECK_OK(world, shl_verbs_proof_show(from, &call));
        CHECK(world, shl_verbs_proof_holds(to, &call));
        shl_verbs_proof_fill(from, true, &proof);
        CHECK_OK(world, prove(&proof, other_key, &call));
        CHECK(world, !shl_verbs_proof_holds(to, &call));
    }
    world_close(world);
}

/* What a rank said itself does not come back as the peer's word, also if who sends it adapts all
 * that can be read. */
static void a_reflected_proof_is_refused(void **state)
{
    struct world *world = world_open(&adapter, 2, 1);
    (void)state;
    for (uint32_t rank = 0; rank < 2; rank++) {
        const struct shl_verbs_join *join = &link_of(world, rank, 1 - rank)->join;
        struct shl_verbs_call call;
        CHECK_OK(world, shl_verbs_proof_show(join, &call));
        CHECK(world, !shl_verbs_proof_holds(join, &call));
        call.rank = 1 - rank;
        CHECK(world, !shl_verbs_proof_holds(join, &call));
    }
    world_close(world);
}

/* A proof of another life, pair, world or link, although it says that it is for this one. */
static void a_recorded_proof_is_refused(void **state)
{
    struct world *world = world_open(&adapter, 2, 1);
    struct shl_verbs_link *from = link_of(world, 0, 1), *to = link_of(world, 1, 0);
    struct shl_transport_env *env = &world->ranks[0].env;
    (void)state;
    for (unsigned of = 0; of < 6; of++) {
        struct shl_verbs_join recorded = from->join, now = to->join;
        struct shl_verbs_call call;
        uint8_t nonce[SHL_VERBS_NONCE_BYTES];
        memcpy(nonce, to->nonce, sizeof(nonce));
        recorded.life += of == 0;
        recorded.index += of == 1;
        recorded.direct ^= of == 2;
        env->epoch += of == 3;
        env->incarnation += of == 4;
        CHECK_OK(world, shl_verbs_proof_show(&recorded, &call));
        env->epoch -= of == 3;
        env->incarnation -= of == 4;
        call.life = now.life;
        call.index = (uint8_t)now.index;
        call.direct = now.direct;
        to->nonce[0] ^= of == 5; /* of a link made later */
        CHECK(world, !shl_verbs_proof_holds(&now, &call));
        memcpy(to->nonce, nonce, sizeof(nonce));
    }
    world_close(world);
}

/* ---- more calls than anybody was told to make ------------------------------------------------ */

static unsigned strangers, turned_down, destroyed;

static int next_stranger(struct rdma_event_channel *channel, struct rdma_cm_event **out)
{
    static struct rdma_cm_id id;
    static struct rdma_cm_event event;
    (void)channel;
    event = (struct rdma_cm_event){.id = &id, .event = RDMA_CM_EVENT_CONNECT_REQUEST};
    *out = &event;
    errno = EAGAIN;
    return strangers > 0 && strangers-- ? 0 : -1;
}

static int acknowledge(struct rdma_cm_event *event)
{
    (void)event;
    return 0;
}

static int turn_down(struct rdma_cm_id *id, const void *data, uint8_t bytes)
{
    (void)id, (void)data, (void)bytes;
    turned_down++;
    return 0;
}

static int destroy(struct rdma_cm_id *id)
{
    (void)id;
    destroyed++;
    return 0;
}

/* They are turned down, a few at a time, and do not fill the log. */
static void many_strangers_do_not_keep_a_rank_busy(void **state)
{
    (void)state;
    struct world *world = world_open(&adapter, 2, 1);
    struct shl_transport *t = world->ranks[0].t;
    struct shl_verbs_link *link = link_of(world, 0, 1);
    const struct shl_verbs_cm_sys *whole = shl_verbs_cm;
    struct shl_verbs_cm_sys table = *whole;
    char path[] = "/tmp/shoal-connect-XXXXXX", text[4096] = "";
    int fd = mkstemp(path);
    table.get_cm_event = next_stranger;
    table.ack_cm_event = acknowledge;
    table.reject = turn_down;
    table.destroy_id = destroy;
    strangers = 1100;
    turned_down = destroyed = 0;
    CHECK(world, fd >= 0 && shl_log_configure(SHL_LOG_WARN, path) == SHOAL_OK);
    shl_verbs_cm = &table;
    unsigned first = shl_verbs_cm_read(t);
    /* Who waits for his own connection to be made says that there was work. */
    const struct shl_verbs_move move = link->move;
    const struct shl_verbs_join join = link->join;
    link->move.step = SHL_VERBS_MEETING;
    link->join.state = SHL_VERBS_JOIN_CALLING;
    link->join.deadline_ns = UINT64_MAX;
    unsigned second = shl_verbs_move_advance(link, shl_now_ns());
    link->move = move;
    link->join = join;
    while (shl_verbs_cm_read(t))
        ;
    shl_verbs_cm = whole;
    CHECK(world, shl_log_configure(SHL_LOG_WARN, NULL) == SHOAL_OK);
    CHECK(world, first == 64 && second == 64 && turned_down == 1100 && destroyed == 1100);
    ssize_t got = read(fd, text, sizeof(text) - 1);
    close(fd);
    unlink(path);
    unsigned lines = 0;
    for (ssize_t i = 0; i < got; i++)
        lines += text[i] == '\n';
    CHECK(world, lines == 2 && strstr(text, "(number 1001)"));
    parcel_move(world, 0, &(struct parcel){.bytes = MIB});
    world_close(world);
}

static bool is_whole(void *arg)
{
    const struct shl_verbs_link *link = arg;
    return link->direct.up && link->direct.life == 1;
}

/* Who loses a connection is given time to hear why; then it is made anew, without the rail. */
static void a_connection_that_ends_is_made_anew(void **state)
{
    (void)state;
    struct world *world = world_open(&adapter, 2, 1);
    struct shl_verbs_link *link = link_of(world, 1, 0);
    struct shl_verbs_cm_event event = {.type = RDMA_CM_EVENT_DISCONNECTED};
    hold_retries(world);
    shl_verbs_join_event(&link->direct.lanes[0].join, &event);
    CHECK(world, shl_verbs_join_broken(&link->direct.lanes[0].join, shl_now_ns()) == NULL);
    world_run(world, is_whole, link);
    world_run(world, is_whole, link_of(world, 0, 1));
    CHECK(world, link->direct.lanes[0].qp == NULL && nobody_is_lost(world));
    parcel_move(world, 0, &(struct parcel){.bytes = MIB});
    world_close(world);
    assert_int_equal(verbs_soft_cm_objects(), 0);
}

/* Its end is seen before the frame that says why: that alone is no reason to distrust a rail. */
static void who_ends_a_connection_may_say_why(void **state)
{
    (void)state;
    struct world *world = world_open(&adapter, 2, 1);
    struct shl_verbs_link *link = link_of(world, 1, 0);
    const struct shl_verbs_join *join = &link->direct.lanes[0].join;
    uint64_t before_ns = shl_now_ns();
    shl_verbs_direct_reset(link_of(world, 0, 1)); /* of which rank 1 is told by a frame */
    for (int i = 0; i < 64 && !join->broken_ns; i++) {
        (void)world->ops->arm(world->ranks[1].t, true);
        (void)world->ops->poll(world->ranks[1].t);
    }
    bool distrusts = link->direct.bad != 0; /* on a busy machine it may have waited long enough */
    CHECK(world, !distrusts || shl_now_ns() - before_ns > SHL_VERBS_SAY_NS);
    CHECK(world, distrusts || join->broken_ns != 0);
    struct shl_verbs_join broken = {
        .state = SHL_VERBS_JOIN_JOINED, .broken_ns = SHL_VERBS_SAY_NS, .cause = "gone"};
    CHECK(world, !shl_verbs_join_broken(&broken, broken.broken_ns - 1)); /* of an older clock */
    CHECK(world, !shl_verbs_join_broken(&broken, 2 * SHL_VERBS_SAY_NS));
    CHECK(world, shl_verbs_join_broken(&broken, 2 * SHL_VERBS_SAY_NS + 1) == broken.cause);
    world_run(world, is_whole, link);
    world_run(world, is_whole, link_of(world, 0, 1));
    CHECK(world, nobody_is_lost(world));
    world_close(world);
    assert_int_equal(verbs_soft_cm_objects(), 0);
}

/* A peer that says twice that its pairs are others; the ids of the first time are not lost. */
static void a_life_is_begun_once(void **state)
{
    (void)state;
    struct world *world = world_open(&adapter, 2, 1);
    struct shl_verbs_link *link = link_of(world, 0, 1);
    shl_verbs_direct_reset(link);
    struct shl_verbs_frame frame = {.type = SHL_VERBS_RESET, .offset = link->direct.life};
    for (uint32_t rail = 0; rail < SHL_VERBS_RAILS; rail++)
        frame.keys[rail] = 77;
    shl_verbs_on_reset(link, &frame);
    const struct rdma_cm_id *id = link->direct.lanes[0].join.id;
    CHECK(world, link->direct.joining && id && link->state == SHL_VERBS_UP);
    shl_verbs_join_begin(&link->direct.lanes[0].join, 77);
    CHECK(world, link->direct.lanes[0].join.id == id);
    shl_verbs_on_reset(link, &frame);
    CHECK(world, link->state == SHL_VERBS_LOST);
    world_close(world);
    assert_int_equal(verbs_soft_cm_objects(), 0);
}

/* ---- addresses ------------------------------------------------------------------------------ */

static struct rdma_event_channel *no_channel(void)
{
    errno = ENOENT;
    return NULL;
}

static void without_rdma_cm_ports_say_so(void **state)
{
    (void)state;
    static struct shl_verbs_cm_addresses addresses;
    const struct shl_verbs_cm_sys *whole = shl_verbs_cm;
    struct shl_verbs_cm_sys table = *whole;
    struct shl_verbs_port port = {.device = "soft0", .port = 1, .kind = SHL_VERBS_IWARP};
    table.create_event_channel = no_channel;
    shl_verbs_cm = &table;
    shl_verbs_cm_addresses_find(NULL, 0, &addresses);
    shl_verbs_cm = whole;
    assert_false(shl_verbs_cm_address_choose(&addresses, &port));
    assert_non_null(strstr(port.reason, "/dev/infiniband/rdma_cm"));
}

static void addresses_lead_to_devices(void **state)
{
    (void)state;
    static struct shl_verbs_cm_addresses addresses;
    struct shl_interface interfaces[3] = {{.name = "a", .up = true}, {.name = "b", .up = true}};
    struct shl_verbs_port port = {.device = "soft0", .port = 1, .kind = SHL_VERBS_IWARP};
    assert_true(shl_sockaddr_parse("10.1.1.1", 0, &interfaces[0].addr));
    assert_true(shl_sockaddr_parse("127.0.0.1", 0, &interfaces[1].addr));
    assert_true(shl_sockaddr_parse("127.0.0.1", 0, &interfaces[2].addr)); /* it is down */
    shl_verbs_cm_addresses_find(interfaces, 3, &addresses);
    assert_int_equal(addresses.count, 1);
    assert_true(shl_verbs_cm_address_choose(&addresses, &port));
    assert_string_equal(port.interface, "b");
    port.kind = SHL_VERBS_ROCE; /* whose GID is another address */
    assert_false(shl_verbs_cm_address_choose(&addresses, &port));
    assert_non_null(strstr(port.reason, "share"));
    port.kind = SHL_VERBS_IWARP;
    port.port = 2;
    assert_false(shl_verbs_cm_address_choose(&addresses, &port));
}

static int set_up_well(void **state)
{
    verbs_soft_cm_fail(VERBS_SOFT_CM_WELL);
    return set_up(state);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(messages_of_all_kinds_arrive, set_up_well),
        cmocka_unit_test_setup(iwarp_connects_and_tells_by_sends, set_up_well),
        cmocka_unit_test_setup(an_address_that_is_not_found_is_told, set_up_well),
        cmocka_unit_test_setup(a_peer_that_refuses_is_told, set_up_well),
        cmocka_unit_test_setup(a_peer_that_is_silent_is_not_awaited_for_ever, set_up_well),
        cmocka_unit_test_setup(a_peer_that_goes_while_it_is_called_is_told, set_up_well),
        cmocka_unit_test_setup(who_calls_without_the_proof_is_turned_down, set_up_well),
        cmocka_unit_test_setup(who_answers_without_the_proof_is_left, set_up_well),
        cmocka_unit_test_setup(another_queue_pair_does_not_call, set_up_well),
        cmocka_unit_test_setup(another_queue_pair_does_not_answer, set_up_well),
        cmocka_unit_test_setup(a_job_without_faults_connects_afterwards, set_up_well),
        cmocka_unit_test_setup(calls_for_other_pairs_are_turned_down, set_up_well),
        cmocka_unit_test_setup(another_secret_proves_nothing, set_up_well),
        cmocka_unit_test_setup(a_reflected_proof_is_refused, set_up_well),
        cmocka_unit_test_setup(a_recorded_proof_is_refused, set_up_well),
        cmocka_unit_test_setup(many_strangers_do_not_keep_a_rank_busy, set_up_well),
        cmocka_unit_test_setup(a_connection_that_ends_is_made_anew, set_up_well),
        cmocka_unit_test_setup(who_ends_a_connection_may_say_why, set_up_well),
        cmocka_unit_test_setup(a_life_is_begun_once, set_up_well),
        cmocka_unit_test(without_rdma_cm_ports_say_so),
        cmocka_unit_test(addresses_lead_to_devices),
    };
    setenv("SHOAL_IB_CONNECT", "rdma_cm", 1);
    begin();
    verbs_soft_install(1); /* whose address it is */
    verbs_soft_cm_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
