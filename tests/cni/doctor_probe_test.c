/*
 * `doctor --probe` over the stand-in for libibverbs: what each fault of a device is reported as.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "doctor.h"

#include "support/clock.h"
#include "support/test.h"
#include "support/verbs_soft.h"
#include "transport/verbs/verbs_probe.h"
#include "transport/verbs/verbs_sys.h"

#include <errno.h>
#include <stdlib.h>

static const struct shl_verbs_sys *soft; /* the stand-in's */
static struct shl_verbs_sys faulty;      /* the same, for a test to change */
static struct cni_doctor doctor;

static int set_up(void **state)
{
    (void)state;
    verbs_soft_install(2);
    soft = shl_verbs;
    faulty = *soft;
    shl_verbs = &faulty;
    doctor = (struct cni_doctor){.arena = cni_arena_create(), .live = true};
    doctor.tail = &doctor.first;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    cni_arena_destroy(doctor.arena);
    assert_int_equal(verbs_soft_objects(), 0);
    return 0;
}

/* What a check said of whatever `seen` begins with; fails the test if it said nothing. */
static const struct cni_observation *observation(const char *check, const char *seen)
{
    for (const struct cni_observation *at = doctor.first; at; at = at->next)
        if (strcmp(at->check->id, check) == 0 && strncmp(at->seen, seen, strlen(seen)) == 0)
            return at;
    fail_msg("%s says nothing of %s", check, seen);
    return NULL;
}

static unsigned count_of(const char *check)
{
    unsigned count = 0;
    for (const struct cni_observation *at = doctor.first; at; at = at->next)
        count += strcmp(at->check->id, check) == 0;
    return count;
}

static void expect_error(const char *check, const char *seen)
{
    const struct cni_observation *found = observation(check, "soft0:1 GID 0 127.0.0.1: ");
    assert_false(found->good);
    assert_int_equal(found->severity, CNI_ERROR);
    if (!strstr(found->seen, seen))
        fail_msg("%s saw \"%s\", expected \"%s\"", check, found->seen, seen);
    assert_true(strlen(found->check->why) > 20 && strlen(found->check->fix) > 20);
}

/* ---- faults -------------------------------------------------------------------------------- */

static struct ibv_mr *no_large_mr(struct ibv_pd *pd, void *memory, size_t bytes, int access)
{
    errno = ENOMEM;
    return bytes >= SHL_VERBS_PROBE_LARGE_BYTES ? NULL : soft->reg_mr(pd, memory, bytes, access);
}

static struct ibv_qp *no_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
    (void)pd, (void)attr;
    errno = ENOMEM;
    return NULL;
}

static int never_complete(struct ibv_cq *cq, int capacity, struct ibv_wc *completions)
{
    (void)cq, (void)capacity, (void)completions;
    return 0;
}

static struct ibv_context *only_first(struct ibv_device *device)
{
    errno = EACCES;
    return strcmp(device->name, "soft0") == 0 ? soft->open_device(device) : NULL;
}

static struct ibv_context *none_opens(struct ibv_device *device)
{
    (void)device;
    errno = EACCES;
    return NULL;
}

/* ---- the tests ----------------------------------------------------------------------------- */

static void each_device_is_tried(void **state)
{
    static const char *const checks[] = {"probe-ports", "probe-open",   "probe-small",
                                         "probe-large", "probe-pair",   "probe-connect",
                                         "probe-write", "probe-release"};
    (void)state;
    cni_doctor_probe(&doctor);
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        assert_int_equal(count_of(checks[i]), 2);
        assert_true(observation(checks[i], "soft0:1 GID 0 127.0.0.1")->good);
        assert_true(observation(checks[i], "soft1:1 GID 0 127.0.0.1")->good);
    }
    assert_non_null(strstr(observation("probe-ports", "soft0")->seen, " of lo"));
    assert_non_null(strstr(observation("probe-large", "soft0")->seen, "64 MiB registered"));
    assert_int_equal(doctor.by_severity[CNI_ERROR], 0);
}

static void registration_fails(void **state)
{
    (void)state;
    faulty.reg_mr = no_large_mr;
    cni_doctor_probe(&doctor);
    expect_error("probe-large", "64 MiB cannot be registered: Cannot allocate memory");
    assert_true(observation("probe-small", "soft0")->good);
    assert_true(observation("probe-write", "soft0")->good);
    assert_int_equal(doctor.by_severity[CNI_ERROR], 2); /* one of each device */
}

static void queue_pair_fails(void **state)
{
    (void)state;
    faulty.create_qp = no_qp;
    cni_doctor_probe(&doctor);
    expect_error("probe-pair", "no reliable queue pair: Cannot allocate memory");
    assert_int_equal(count_of("probe-connect") + count_of("probe-write"), 0);
    assert_int_equal(count_of("probe-release"), 2);
}

static void write_times_out(void **state)
{
    (void)state;
    shl_test_clock_install(1);
    faulty.poll_cq = never_complete;
    cni_doctor_probe(&doctor);
    shl_test_clock_remove();
    expect_error("probe-write", "no completion within 5000 ms");
}

/* As in a pod that sees the devices of others: nothing to repair while one works. */
static void device_of_others_is_a_note(void **state)
{
    (void)state;
    faulty.open_device = only_first;
    cni_doctor_probe(&doctor);
    assert_true(observation("probe-write", "soft0")->good);
    const struct cni_observation *other = observation("probe-ports", "soft1 is not tried: ");
    assert_false(other->good);
    assert_int_equal(other->severity, CNI_NOTE);
    assert_non_null(strstr(other->seen, "Permission denied"));
    assert_int_equal(doctor.by_severity[CNI_ERROR], 0);
}

static void nothing_opens(void **state)
{
    (void)state;
    faulty.open_device = none_opens;
    cni_doctor_probe(&doctor);
    assert_int_equal(observation("probe-ports", "soft0 is not tried: ")->severity, CNI_ERROR);
    assert_int_equal(doctor.by_severity[CNI_ERROR], 2);
}

static void no_device(void **state)
{
    (void)state;
    verbs_soft_install(0);
    cni_doctor_probe(&doctor);
    assert_int_equal(observation("probe-ports", "libibverbs lists no")->severity, CNI_ERROR);
}

static void settings_are_wrong(void **state)
{
    (void)state;
    setenv("SHOAL_IB_GID_INDEX", "three", 1);
    cni_doctor_probe(&doctor);
    unsetenv("SHOAL_IB_GID_INDEX");
    assert_int_equal(observation("probe-ports", "SHOAL_IB_GID_INDEX=\"three\"")->severity,
                     CNI_ERROR);
    setenv("SHOAL_IB_GID_INDEXX", "3", 1);
    cni_doctor_probe(&doctor);
    unsetenv("SHOAL_IB_GID_INDEXX");
    assert_int_equal(doctor.by_severity[CNI_ERROR], 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_device_is_tried, set_up, tear_down),
        cmocka_unit_test_setup_teardown(registration_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(queue_pair_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(write_times_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(device_of_others_is_a_note, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_opens, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_device, set_up, tear_down),
        cmocka_unit_test_setup_teardown(settings_are_wrong, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
