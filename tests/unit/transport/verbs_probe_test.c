/*
 * The try of a port over the stand-in for libibverbs: all steps, each call failing, a write that
 * never completes, ends badly or writes something else. Whatever happens, nothing is left.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_probe.h"

#include "core/sys.h"
#include "support/clock.h"
#include "support/fault.h"
#include "support/test.h"
#include "support/verbs_soft.h"
#include "transport/verbs/verbs_sys.h"

#include <errno.h>

#define LARGE_BYTES (1u << 20)
#define TIMEOUT_MS 5000
#define G SHL_VERBS_PROBE_GOOD
#define B SHL_VERBS_PROBE_BAD
#define S SHL_VERBS_PROBE_SKIPPED

static struct shl_config config;
static struct shl_verbs_port port;
static const struct shl_verbs_sys *soft; /* the stand-in's */
static struct shl_verbs_sys faulty;      /* the same, for a test to change */
static struct shl_verbs_probe probe;

static int set_up(void **state)
{
    uint32_t count = 0;
    (void)state;
    verbs_soft_install(1);
    soft = shl_verbs;
    faulty = *soft;
    shl_verbs = &faulty;
    ASSERT_OK(shl_config_load(NULL, &config));
    ASSERT_OK(shl_verbs_ports_find(&config, &port, 1, &count));
    assert_int_equal(count, 1);
    assert_true(port.usable);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    shl_config_free(&config);
    return 0;
}

static void run(void)
{
    const struct shl_verbs_probe_settings settings = {&config, LARGE_BYTES, TIMEOUT_MS};
    shl_verbs_probe_run(&port, &settings, &probe);
    assert_int_equal(verbs_soft_objects(), 0);
}

/* All verdicts, and what the bad step saw. */
static void expect(const enum shl_verbs_probe_verdict *verdicts, const char *seen)
{
    for (int step = 0; step < SHL_VERBS_PROBE_STEPS; step++) {
        if (probe.steps[step].verdict != verdicts[step])
            fail_msg("step %d: verdict %d, expected %d: %s", step, probe.steps[step].verdict,
                     verdicts[step], probe.steps[step].seen);
        assert_int_equal(probe.steps[step].verdict == S, !probe.steps[step].seen[0]);
        if (probe.steps[step].verdict == B && !strstr(probe.steps[step].seen, seen))
            fail_msg("step %d saw \"%s\", expected \"%s\"", step, probe.steps[step].seen, seen);
    }
}
#define EXPECT(seen, ...)                                                                          \
    expect((const enum shl_verbs_probe_verdict[SHL_VERBS_PROBE_STEPS]){__VA_ARGS__}, seen)

/* ---- calls that fail ----------------------------------------------------------------------- */

static struct ibv_device **no_list(int *count)
{
    (void)count;
    errno = ENOSYS;
    return NULL;
}

static struct ibv_device **empty_list(int *count)
{
    static struct ibv_device *none[1];
    *count = 0;
    return none;
}

static struct ibv_context *no_context(struct ibv_device *device)
{
    (void)device;
    errno = EACCES;
    return NULL;
}

static struct ibv_pd *no_pd(struct ibv_context *context)
{
    (void)context;
    errno = EAGAIN;
    return NULL;
}

static struct ibv_mr *no_mr(struct ibv_pd *pd, void *memory, size_t bytes, int access)
{
    (void)pd, (void)memory, (void)bytes, (void)access;
    errno = ENOMEM;
    return NULL;
}

static struct ibv_mr *no_large_mr(struct ibv_pd *pd, void *memory, size_t bytes, int access)
{
    return bytes > SHL_VERBS_PROBE_SMALL_BYTES ? no_mr(pd, memory, bytes, access)
                                               : soft->reg_mr(pd, memory, bytes, access);
}

static struct ibv_cq *no_cq(struct ibv_context *context, int entries, void *arg,
                            struct ibv_comp_channel *channel, int vector)
{
    (void)context, (void)entries, (void)arg, (void)channel, (void)vector;
    errno = ENOMEM;
    return NULL;
}

static struct ibv_qp *no_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
    (void)pd, (void)attr;
    errno = ENOMEM;
    return NULL;
}

static enum ibv_qp_state refused_state;

static int modify_but_one(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask)
{
    return attr->qp_state == refused_state ? EINVAL : soft->modify_qp(qp, attr, mask);
}

static int no_send(struct ibv_qp *qp, struct ibv_send_wr *chain, struct ibv_send_wr **bad)
{
    (void)qp;
    *bad = chain;
    return ENOMEM;
}

static int never_complete(struct ibv_cq *cq, int capacity, struct ibv_wc *completions)
{
    (void)cq, (void)capacity, (void)completions;
    return 0;
}

static int unreadable(struct ibv_cq *cq, int capacity, struct ibv_wc *completions)
{
    (void)cq, (void)capacity, (void)completions;
    return -EIO;
}

static int another_number(struct ibv_cq *cq, int capacity, struct ibv_wc *completions)
{
    int count = soft->poll_cq(cq, capacity, completions);
    if (count > 0)
        completions->wr_id++;
    return count;
}

static int write_elsewhere(struct ibv_qp *qp, struct ibv_send_wr *chain, struct ibv_send_wr **bad)
{
    chain->wr.rdma.remote_addr -= 1;
    return soft->post_send(qp, chain, bad);
}

static int wrong_key(struct ibv_qp *qp, struct ibv_send_wr *chain, struct ibv_send_wr **bad)
{
    chain->wr.rdma.rkey += 1000;
    return soft->post_send(qp, chain, bad);
}

/* These do their work and say that they did not. */
static int keep_pair(struct ibv_qp *qp)
{
    soft->destroy_qp(qp);
    return EBUSY;
}

static int keep_mr(struct ibv_mr *mr)
{
    soft->dereg_mr(mr);
    return EBUSY;
}

/* ---- the tests ----------------------------------------------------------------------------- */

static void every_step_succeeds(void **state)
{
    (void)state;
    run();
    EXPECT("", G, G, G, G, G, G, G);
    assert_non_null(strstr(probe.steps[SHL_VERBS_PROBE_LARGE].seen, "1 MiB registered"));
    assert_non_null(strstr(probe.steps[SHL_VERBS_PROBE_SMALL].seen, "8 KiB registered"));
    assert_non_null(strstr(probe.steps[SHL_VERBS_PROBE_WRITE].seen, "4096 bytes"));
}

static void device_does_not_open(void **state)
{
    (void)state;
    faulty.get_device_list = no_list;
    run();
    EXPECT("lists no RDMA devices", B, S, S, S, S, S, G);
    faulty.get_device_list = empty_list; /* it went since it was found */
    run();
    EXPECT("No such device", B, S, S, S, S, S, G);
    faulty = *soft;
    faulty.open_device = no_context;
    run();
    EXPECT("Permission denied", B, S, S, S, S, S, G);
    faulty = *soft;
    faulty.alloc_pd = no_pd;
    run();
    EXPECT("no protection domain", B, S, S, S, S, S, G);
}

static void memory_is_not_registered(void **state)
{
    (void)state;
    faulty.reg_mr = no_mr;
    run();
    EXPECT("cannot be registered: Cannot allocate memory", G, B, B, G, G, S, G);
    faulty.reg_mr = no_large_mr; /* the write then stays in the small memory */
    run();
    EXPECT("1 MiB cannot be registered", G, G, B, G, G, G, G);
}

static void no_queue_pair(void **state)
{
    (void)state;
    faulty.create_cq = no_cq;
    run();
    EXPECT("no completion queue", G, G, G, B, S, S, G);
    faulty = *soft;
    faulty.create_qp = no_qp;
    run();
    EXPECT("no reliable queue pair: Cannot allocate memory", G, G, G, B, S, S, G);
}

static void queue_pair_does_not_connect(void **state)
{
    static const struct {
        enum ibv_qp_state state;
        const char *name;
    } refused[] = {{IBV_QPS_INIT, "INIT with GID 0 127.0.0.1: Invalid"},
                   {IBV_QPS_RTR, "RTR"},
                   {IBV_QPS_RTS, "RTS"}};
    (void)state;
    faulty.modify_qp = modify_but_one;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        refused_state = refused[i].state;
        run();
        EXPECT(refused[i].name, G, G, G, G, B, S, G);
    }
}

static void write_fails(void **state)
{
    (void)state;
    faulty.post_send = no_send;
    run();
    EXPECT("cannot be posted: Cannot allocate memory", G, G, G, G, G, B, G);
    faulty.post_send = wrong_key;
    run();
    EXPECT("ended with \"status 10\"", G, G, G, G, G, B, G);
    faulty.post_send = write_elsewhere;
    run();
    EXPECT("other bytes are there", G, G, G, G, G, B, G);
    faulty = *soft;
    faulty.poll_cq = unreadable;
    run();
    EXPECT("cannot be read: Input/output error", G, G, G, G, G, B, G);
    faulty.poll_cq = another_number;
    run();
    EXPECT("nobody asked for", G, G, G, G, G, B, G);
}

static void write_never_completes(void **state)
{
    (void)state;
    shl_test_clock_install(1000);
    faulty.poll_cq = never_complete;
    run();
    uint64_t took_ms = (shl_now_ns() - 1000) / 1000000;
    shl_test_clock_remove();
    EXPECT("no completion within 5000 ms", G, G, G, G, G, B, G);
    assert_in_range(took_ms, TIMEOUT_MS, TIMEOUT_MS + 1);
}

static void what_stays_is_told(void **state)
{
    (void)state;
    faulty.destroy_qp = keep_pair;
    faulty.dereg_mr = keep_mr;
    run();
    EXPECT("the queue pair cannot be given back: ", G, G, G, G, G, G, B);
    faulty.destroy_qp = soft->destroy_qp;
    run();
    EXPECT("the large registration cannot be given back: ", G, G, G, G, G, G, B);
}

/* A step that failed is the only trace of a fault. */
static enum shoal_status run_under_faults(void *arg)
{
    (void)arg;
    run();
    for (int step = 0; step < SHL_VERBS_PROBE_STEPS; step++)
        if (probe.steps[step].verdict == B)
            return shl_fail(SHOAL_ERR_NOMEM, "%s", probe.steps[step].seen);
    return SHOAL_OK;
}

static void kth_allocation_fails(void **state)
{
    (void)state;
    assert_int_equal(shl_fault_sweep(SHL_FAULT_MEM, run_under_faults, NULL, 20), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_step_succeeds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(device_does_not_open, set_up, tear_down),
        cmocka_unit_test_setup_teardown(memory_is_not_registered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_queue_pair, set_up, tear_down),
        cmocka_unit_test_setup_teardown(queue_pair_does_not_connect, set_up, tear_down),
        cmocka_unit_test_setup_teardown(write_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(write_never_completes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_stays_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(kth_allocation_fails, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
