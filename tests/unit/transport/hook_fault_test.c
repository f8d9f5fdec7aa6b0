/*
 * Test faults: each action on each call, at its k, on its rank; and their text.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conformance/message.h"
#include "conformance/sim_world.h"
#include "transport/hook/hook.h"
#include "transport/sim/sim_transport.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define MS 1000000u

static const struct shl_hook_fault *plan;
static size_t plan_count;

static enum shoal_status prepare(struct world *world)
{
    const struct shl_transport_ops *ops;
    SHL_TRY(shl_hook_fault_wrap(&shl_transport_sim, plan, plan_count, &ops));
    SHL_TRY(sim_world_prepare(world));
    shl_sim_clock_install(world->state);
    world->ops = ops;
    return SHOAL_OK;
}

static void cleanup(struct world *world)
{
    shl_sim_clock_remove();
    sim_world_cleanup(world);
}

static const struct conformance_adapter adapter = {
    .name = "faults over sim",
    .prepare = prepare,
    .idle = sim_world_idle,
    .cleanup = cleanup,
};

/* A world of three ranks with these faults. */
static struct world *faulty_world(const struct shl_hook_fault *faults, size_t count)
{
    plan = faults;
    plan_count = count;
    return world_open(&adapter, 3, 3); /* a calm network */
}

static const struct shl_hook_fault blank = {
    .rank = SHL_HOOK_ANY, .k = 1, .status = SHOAL_ERR_SYSTEM, .peer = SHL_HOOK_ANY};

static void kth_post_fails(void **state)
{
    (void)state;
    for (unsigned on = 0; on < 2; on++) {
        struct shl_hook_fault fault = blank;
        fault.rank = on == SHL_HOOK_ON_SEND ? 0 : 1;
        fault.call = on;
        fault.k = 3;
        fault.action = SHL_HOOK_FAIL;
        fault.status = SHOAL_ERR_NOMEM;
        uint64_t before = shl_hook_fault_count();
        struct world *world = faulty_world(&fault, 1);
        for (uint32_t i = 1; i <= 5; i++) {
            struct message message;
            struct message_plan next = {.from = 0, .to = 1, .seq = i, .bytes = 100};
            message_make(world, &next, &message);
            enum shoal_status sent = world->ops->send(world->ranks[0].t, &message.send);
            enum shoal_status received = world->ops->recv(world->ranks[1].t, &message.recv);
            assert_int_equal(on == 0 ? sent : received, i == 3 ? SHOAL_ERR_NOMEM : SHOAL_OK);
            assert_int_equal(on == 0 ? received : sent, SHOAL_OK);
            if (i == 3) {
                assert_non_null(strstr(shl_error_text(), "test fault"));
                world->ops->cancel(world->ranks[0].t, MESSAGE_COMM, i);
                world->ops->cancel(world->ranks[1].t, MESSAGE_COMM, i);
            } else {
                world_run(world, message_done, &message);
                message_verify(&message);
            }
            message_free(&message);
        }
        assert_int_equal(shl_hook_fault_count(), before + 1);
        world_close(world);
    }
}

static void delayed_post_comes_late(void **state)
{
    (void)state;
    struct shl_hook_fault fault = blank;
    fault.rank = 0;
    fault.call = SHL_HOOK_ON_SEND;
    fault.action = SHL_HOOK_DELAY;
    fault.delay_ns = 5 * MS;
    struct world *world = faulty_world(&fault, 1);
    struct message first, second;
    struct message_plan next = {.from = 0, .to = 1, .seq = 1, .bytes = 100};
    message_make(world, &next, &first);
    next.msg = 1;
    message_make(world, &next, &second);
    message_post_send(&first);
    message_post_recv(&first);
    message_post_send(&second);
    message_post_recv(&second);
    world_run(world, message_done, &second); /* overtakes */
    assert_true(shl_now_ns() < 5 * MS);
    world_settle(world);
    assert_int_equal(first.send_done + first.recv_done, 0);
    assert_false(world->ops->arm(world->ranks[0].t, true)); /* nobody may sleep over it */
    world->ops->arm(world->ranks[0].t, false);
    shl_time->sleep_ns(5 * MS);
    world_run(world, message_done, &first);
    message_verify(&first);
    message_verify(&second);
    message_free(&first);
    message_free(&second);
    world_close(world);
}

static void delayed_post_can_be_cancelled(void **state)
{
    (void)state;
    struct shl_hook_fault faults[2] = {blank, blank};
    faults[0].call = SHL_HOOK_ON_SEND;
    faults[1].call = SHL_HOOK_ON_RECV;
    faults[0].action = faults[1].action = SHL_HOOK_DELAY;
    faults[0].delay_ns = faults[1].delay_ns = MS;
    struct world *world = faulty_world(faults, 2);
    struct message message;
    struct message_plan next = {.from = 0, .to = 1, .seq = 1, .bytes = 5000};
    message_make(world, &next, &message);
    message_post_send(&message);
    message_post_recv(&message);
    world->ops->cancel(world->ranks[0].t, MESSAGE_COMM, 1);
    world->ops->drop_peer(world->ranks[1].t, 0);
    shl_time->sleep_ns(2 * MS);
    world_settle(world);
    assert_int_equal(message.send_done + message.recv_done, 0);
    assert_true(message_untouched(&message));
    world_close(world);
    message_free(&message);
}

static void stalled_poll_moves_nothing(void **state)
{
    (void)state;
    struct shl_hook_fault fault = blank;
    fault.rank = 1;
    fault.call = SHL_HOOK_ON_POLL;
    fault.action = SHL_HOOK_DELAY;
    fault.delay_ns = 7 * MS;
    struct world *world = faulty_world(&fault, 1);
    struct message message;
    struct message_plan next = {.from = 0, .to = 1, .seq = 1, .bytes = 100};
    message_make(world, &next, &message);
    message_post_recv(&message);
    message_post_send(&message);
    world_settle(world);
    assert_int_equal(message.recv_done, 0);
    assert_false(world->ops->arm(world->ranks[1].t, true));
    shl_time->sleep_ns(7 * MS);
    world_run(world, message_done, &message);
    message_verify(&message);
    message_free(&message);
    world_close(world);
}

static void peer_is_dropped(void **state)
{
    (void)state;
    struct shl_hook_fault faults[2] = {blank, blank};
    faults[0].rank = 0;
    faults[0].call = SHL_HOOK_ON_RECV;
    faults[0].k = 2;
    faults[0].action = SHL_HOOK_DROP_PEER;
    faults[1] = faults[0];
    faults[1].rank = 1;
    faults[1].call = SHL_HOOK_ON_POLL;
    faults[1].k = 50;
    faults[1].peer = 2;
    struct world *world = faulty_world(faults, 2);
    struct message messages[2];
    for (uint32_t i = 0; i < 2; i++) {
        struct message_plan next = {.from = 2, .to = 0, .seq = 1, .msg = i, .bytes = 10};
        message_make(world, &next, &messages[i]);
    }
    message_post_recv(&messages[0]);
    message_post_recv(&messages[1]);
    assert_int_equal(world->ranks[0].lost_calls[2], 0);
    world_poll(world);
    assert_int_equal(world->ranks[0].lost_calls[2], 1);
    assert_int_equal(messages[0].recv_done + messages[1].recv_done, 0);
    world->ops->cancel(world->ranks[0].t, MESSAGE_COMM, 1);
    assert_int_equal(world->ranks[0].lost[2], SHOAL_ERR_PEER);
    for (unsigned i = 0; i < 100; i++)
        world_poll(world);
    assert_int_equal(world->ranks[1].lost_calls[2], 1);
    assert_int_equal(world->ranks[1].lost_calls[0] + world->ranks[0].lost_calls[1], 0);
    assert_int_equal(world->ranks[2].lost_calls[0] + world->ranks[2].lost_calls[1], 0);
    struct message_plan next = {.from = 0, .to = 1, .seq = 2, .bytes = 10000};
    message_exchange(world, &next);
    world_close(world);
    message_free(&messages[0]);
    message_free(&messages[1]);
}

static void only_the_named_transport_and_rank(void **state)
{
    (void)state;
    struct shl_hook_fault faults[2] = {blank, blank};
    faults[0].call = faults[1].call = SHL_HOOK_ON_SEND;
    faults[0].action = faults[1].action = SHL_HOOK_FAIL;
    strcpy(faults[0].transport, "tcp");
    strcpy(faults[1].transport, "sim");
    faults[1].rank = 2;
    uint64_t before = shl_hook_fault_count();
    struct world *world = faulty_world(faults, 2);
    struct message_plan next = {.from = 0, .to = 2, .seq = 1, .bytes = 10};
    message_exchange(world, &next);
    assert_int_equal(shl_hook_fault_count(), before);
    struct message message;
    next = (struct message_plan){.from = 2, .to = 0, .seq = 2, .bytes = 10};
    message_make(world, &next, &message);
    assert_int_equal(world->ops->send(world->ranks[2].t, &message.send), SHOAL_ERR_SYSTEM);
    assert_int_equal(shl_hook_fault_count(), before + 1);
    message_free(&message);
    world_close(world);
}

/* ---- the process ---------------------------------------------------------------------------- */

/* Runs five exchanges in a child; exits with 7 when they all came through. */
static pid_t run_child(const char *text)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child > 0)
        return child;
    struct shl_hook_fault faults[SHL_HOOK_FAULTS_MAX];
    size_t count;
    if (shl_hook_fault_parse(text, faults, SHL_HOOK_FAULTS_MAX, &count) < 0)
        _exit(8);
    struct world *world = faulty_world(faults, count);
    for (uint32_t i = 1; i <= 5; i++) {
        struct message_plan next = {.from = 0, .to = 1, .seq = i, .bytes = 10};
        message_exchange(world, &next);
    }
    _exit(7);
}

static int wait_for(pid_t child, int flags)
{
    int status = 0;
    assert_int_equal(waitpid(child, &status, flags), child);
    return status;
}

static void process_is_killed(void **state)
{
    (void)state;
    int status = wait_for(run_child("rank=1,on=recv,k=5,do=kill"), 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    status = wait_for(run_child("rank=1,on=recv,k=6,do=kill"), 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    status = wait_for(run_child("on=poll,do=kill"), 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void process_is_stopped(void **state)
{
    (void)state;
    pid_t child = run_child("rank=0,on=send,k=2,do=stop");
    int status = wait_for(child, WUNTRACED);
    assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    assert_int_equal(kill(child, SIGCONT), 0);
    status = wait_for(child, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7); /* goes on as if nothing was */
}

/* ---- text ----------------------------------------------------------------------------------- */

static void text_says_everything(void **state)
{
    (void)state;
    struct shl_hook_fault faults[4];
    size_t count = 9;
    assert_int_equal(shl_hook_fault_parse("", faults, 4, &count), SHOAL_OK);
    assert_int_equal(count, 0);
    const char *text = "rank=1,transport=tcp,on=send,k=3,do=kill;"
                       " on = recv , do = fail , status = -80 ;"
                       "on=poll,k=9,do=drop,peer=2;on=poll,do=delay,ms=50";
    assert_int_equal(shl_hook_fault_parse(text, faults, 4, &count), SHOAL_OK);
    assert_int_equal(count, 4);
    assert_int_equal(faults[0].rank, 1);
    assert_string_equal(faults[0].transport, "tcp");
    assert_int_equal(faults[0].call, SHL_HOOK_ON_SEND);
    assert_int_equal(faults[0].k, 3);
    assert_int_equal(faults[0].action, SHL_HOOK_KILL);
    assert_int_equal(faults[1].rank, SHL_HOOK_ANY);
    assert_string_equal(faults[1].transport, "");
    assert_int_equal(faults[1].call, SHL_HOOK_ON_RECV);
    assert_int_equal(faults[1].k, 1);
    assert_int_equal(faults[1].action, SHL_HOOK_FAIL);
    assert_int_equal(faults[1].status, SHOAL_ERR_NOMEM);
    assert_int_equal(faults[2].action, SHL_HOOK_DROP_PEER);
    assert_int_equal(faults[2].peer, 2);
    assert_int_equal(faults[3].action, SHL_HOOK_DELAY);
    assert_int_equal(faults[3].delay_ns, 50 * MS);
    assert_int_equal(shl_hook_fault_parse(text, faults, 3, &count), SHOAL_ERR_CONFIG);
    assert_int_equal(count, 4); /* outputs only on success */
}

static void bad_text_is_named(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"on=send", "do="},
        {"do=kill", "on="},
        {"on=send,do=explode", "explode"},
        {"on=teatime,do=kill", "teatime"},
        {"on=send,do=kill,k=0", "k=0"},
        {"on=send,do=kill,k=3x", "k=3x"},
        {"on=send,do=kill,k=99999999999999999999", "k="},
        {"on=send,do=fail,status=1", "status=1"},
        {"on=send,do=kill,colour=red", "colour"},
        {"on=send,do=kill,nonsense", "nonsense"},
        {"on=send,do=kill,", ""},
        {"on=send,do=kill,transport=averyveryverylongname", "averyvery"},
        {";", "on="},
        {"=,=", ""},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct shl_hook_fault faults[4];
        size_t count;
        enum shoal_status status = shl_hook_fault_parse(bad[i][0], faults, 4, &count);
        if (i == 10) { /* a comma at the end is harmless */
            assert_int_equal(status, SHOAL_OK);
            continue;
        }
        assert_int_equal(status, SHOAL_ERR_CONFIG);
        assert_non_null(strstr(shl_error_text(), "SHOAL_TEST_FAULT"));
        assert_non_null(strstr(shl_error_text(), bad[i][1]));
    }
    const struct shl_transport_ops *ops = NULL;
    assert_int_equal(shl_hook_fault_wrap_text(&shl_transport_sim, "", &ops), SHOAL_OK);
    assert_ptr_equal(ops, &shl_transport_sim);
    ops = NULL;
    assert_int_equal(shl_hook_fault_wrap_text(&shl_transport_sim, "on=poll,do=fail", &ops),
                     SHOAL_ERR_INVALID);
    assert_int_equal(shl_hook_fault_wrap_text(&shl_transport_sim, "on=poll,do=drop", &ops),
                     SHOAL_ERR_INVALID);
    assert_null(ops);
}

static void inner_transport_is_found(void **state)
{
    (void)state;
    struct world *world = faulty_world(NULL, 0);
    struct shl_transport *t = world->ranks[0].t;
    struct shl_transport *inner = shl_hook_inner(world->ops, t);
    assert_ptr_not_equal(inner, t);
    assert_ptr_equal(shl_hook_inner(&shl_transport_sim, inner), inner);
    assert_string_equal(world->ops->name, "sim");
    assert_int_equal(world->ops->eager_bytes, shl_transport_sim.eager_bytes);
    world_close(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kth_post_fails),
        cmocka_unit_test(delayed_post_comes_late),
        cmocka_unit_test(delayed_post_can_be_cancelled),
        cmocka_unit_test(stalled_poll_moves_nothing),
        cmocka_unit_test(peer_is_dropped),
        cmocka_unit_test(only_the_named_transport_and_rank),
        cmocka_unit_test(process_is_killed),
        cmocka_unit_test(process_is_stopped),
        cmocka_unit_test(text_says_everything),
        cmocka_unit_test(bad_text_is_named),
        cmocka_unit_test(inner_transport_is_found),
    };
    return cmocka_run_group_tests_name("hook_fault", tests, NULL, NULL);
}
