/*
 * Rank, size and meeting place under every launcher.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/launch_env.h"

#include "support/test.h"

#include <stdlib.h>

static struct shl_config config;
static struct shl_launch_env env;

/* Only these "NAME=value" are set; ends with NULL. */
static enum shoal_status read_env(const char *const *set)
{
    clearenv();
    for (; *set; set++) {
        char name[64];
        size_t length = strcspn(*set, "=");
        memcpy(name, *set, length);
        name[length] = '\0';
        setenv(name, *set + length + 1, 1);
    }
    return shl_launch_env_read(&config, &env);
}

#define READ(...) read_env((const char *const[]){__VA_ARGS__, NULL})

static int set_up(void **state)
{
    (void)state;
    memset(&config, 0, sizeof(config));
    config.rank = config.size = config.rendezvous = "";
    config.job = "default";
    return 0;
}

static void nothing_set_lists_what_was_looked_for(void **state)
{
    static const char *const names[] = {"SHOAL_RANK", "RANK (torchrun", "OMPI_COMM_WORLD_RANK",
                                        "PMI_RANK",   "SLURM_PROCID",   "shoal run"};
    (void)state;
    ASSERT_STATUS(SHOAL_ERR_CONFIG, READ("PATH=/bin"));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        ASSERT_DETAIL(names[i]);
    /* A batch script of Slurm is no rank, and an empty variable is none. */
    ASSERT_STATUS(SHOAL_ERR_CONFIG, READ("SLURM_NTASKS=4", "RANK="));
}

static void own_variables_win(void **state)
{
    (void)state;
    config.rank = "3";
    config.size = "4";
    config.rendezvous = "10.0.0.1:7000";
    config.job = "mine";
    ASSERT_OK(READ("RANK=0", "WORLD_SIZE=2", "MASTER_ADDR=h", "MASTER_PORT=1"));
    assert_int_equal(env.rank, 3);
    assert_int_equal(env.size, 4);
    assert_string_equal(env.rendezvous, "10.0.0.1:7000");
    assert_string_equal(env.job, "mine");
}

static void own_variables_need_a_meeting_place(void **state)
{
    (void)state;
    config.rank = "0";
    config.size = "2";
    ASSERT_STATUS(SHOAL_ERR_CONFIG, READ("PATH="));
    ASSERT_DETAIL("SHOAL_RENDEZVOUS");
    config.size = "1"; /* nobody to meet */
    ASSERT_OK(READ("PATH="));
    config.size = "";
    ASSERT_STATUS(SHOAL_ERR_CONFIG, READ("PATH="));
    ASSERT_DETAIL("SHOAL_RANK is set, but SHOAL_SIZE is not");
}

static void torchrun(void **state)
{
    (void)state;
    ASSERT_OK(READ("RANK=1", "WORLD_SIZE=2", "MASTER_ADDR=node-0", "MASTER_PORT=29500"));
    assert_int_equal(env.rank, 1);
    assert_int_equal(env.size, 2);
    assert_string_equal(env.rendezvous, "node-0:29501");
    assert_non_null(strstr(env.launcher, "torchrun"));
    ASSERT_OK(READ("RANK=1", "WORLD_SIZE=2", "MASTER_ADDR=fd00::1", "MASTER_PORT=29500"));
    assert_string_equal(env.rendezvous, "[fd00::1]:29501");
    config.rendezvous = "elsewhere:5";
    ASSERT_OK(READ("RANK=1", "WORLD_SIZE=2"));
    assert_string_equal(env.rendezvous, "elsewhere:5");
}

static void torchrun_incomplete(void **state)
{
    (void)state;
    ASSERT_STATUS(SHOAL_ERR_CONFIG, READ("RANK=1"));
    ASSERT_DETAIL("RANK is set, but WORLD_SIZE is not");
    ASSERT_STATUS(SHOAL_ERR_CONFIG, READ("RANK=1", "WORLD_SIZE=2"));
    ASSERT_DETAIL("MASTER_ADDR");
    ASSERT_STATUS(SHOAL_ERR_CONFIG, READ("RANK=1", "WORLD_SIZE=2", "MASTER_ADDR=h"));
    ASSERT_DETAIL("MASTER_PORT");
    ASSERT_STATUS(SHOAL_ERR_CONFIG,
                  READ("RANK=1", "WORLD_SIZE=2", "MASTER_ADDR=h", "MASTER_PORT=65535"));
    ASSERT_DETAIL("65534");
}

static void numbers_are_checked(void **state)
{
    static const char *const bad[] = {"RANK=-1", "RANK=1x", "RANK=4294967296", "RANK= 1",
                                      "RANK=99999999999999999999"};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ASSERT_STATUS(SHOAL_ERR_CONFIG,
                      READ(bad[i], "WORLD_SIZE=2", "MASTER_ADDR=h", "MASTER_PORT=1"));
        ASSERT_DETAIL("is no number");
    }
    ASSERT_STATUS(SHOAL_ERR_CONFIG,
                  READ("RANK=2", "WORLD_SIZE=2", "MASTER_ADDR=h", "MASTER_PORT=1"));
    ASSERT_DETAIL("RANK=2 is not below WORLD_SIZE=2");
}

static void open_mpi_on_one_host_needs_no_address(void **state)
{
    char first[sizeof(env.rendezvous)];
    (void)state;
    ASSERT_OK(READ("OMPI_COMM_WORLD_RANK=0", "OMPI_COMM_WORLD_SIZE=2",
                   "OMPI_COMM_WORLD_LOCAL_SIZE=2", "PMIX_NAMESPACE=1234"));
    memcpy(first, env.rendezvous, sizeof(first));
    assert_int_equal(first[0], '@');
    ASSERT_OK(READ("OMPI_COMM_WORLD_RANK=1", "OMPI_COMM_WORLD_SIZE=2",
                   "OMPI_COMM_WORLD_LOCAL_SIZE=2", "PMIX_NAMESPACE=1234"));
    assert_string_equal(env.rendezvous, first); /* the same for all of a job */
    ASSERT_OK(READ("OMPI_COMM_WORLD_RANK=1", "OMPI_COMM_WORLD_SIZE=2", "PMIX_NAMESPACE=1235"));
    assert_string_not_equal(env.rendezvous, first); /* and for no other */
    assert_true(strlen(env.rendezvous) < 108);
}

static void several_hosts_need_one(void **state)
{
    (void)state;
    ASSERT_STATUS(SHOAL_ERR_CONFIG, READ("OMPI_COMM_WORLD_RANK=0", "OMPI_COMM_WORLD_SIZE=4",
                                         "OMPI_COMM_WORLD_LOCAL_SIZE=2"));
    ASSERT_DETAIL("Open MPI");
    ASSERT_DETAIL("SHOAL_RENDEZVOUS");
    ASSERT_STATUS(SHOAL_ERR_CONFIG, READ("PMI_RANK=0", "PMI_SIZE=4", "MPI_LOCALNRANKS=2"));
    ASSERT_DETAIL("MPICH");
    config.rendezvous = "h:1";
    ASSERT_OK(READ("PMI_RANK=0", "PMI_SIZE=4", "MPI_LOCALNRANKS=2"));
    assert_string_equal(env.rendezvous, "h:1");
}

static void mpich_meets_by_its_parent(void **state)
{
    (void)state;
    ASSERT_OK(READ("PMI_RANK=2", "PMI_SIZE=4", "MPI_LOCALNRANKS=4"));
    assert_int_equal(env.rank, 2);
    assert_int_equal(env.rendezvous[0], '@');
}

static void slurm_meets_on_its_first_node(void **state)
{
    static const char *const lists[][2] = {{"SLURM_STEP_NODELIST=node[03-07,9],x", "node03:"},
                                           {"SLURM_STEP_NODELIST=a,b", "a:"},
                                           {"SLURM_STEP_NODELIST=gpu[5,8]", "gpu5:"},
                                           {"SLURM_NODELIST=n1", "n1:"},
                                           {"SLURM_LAUNCH_NODE_IPADDR=10.0.0.9", "10.0.0.9:"}};
    (void)state;
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        ASSERT_OK(READ("SLURM_PROCID=1", "SLURM_NTASKS=4", "SLURM_NNODES=2", "SLURM_JOB_ID=77",
                       lists[i][0]));
        assert_memory_equal(env.rendezvous, lists[i][1], strlen(lists[i][1]));
    }
    ASSERT_STATUS(SHOAL_ERR_CONFIG, READ("SLURM_PROCID=1", "SLURM_NTASKS=4", "SLURM_NNODES=2"));
    ASSERT_OK(READ("SLURM_PROCID=1", "SLURM_NTASKS=4", "SLURM_NNODES=1", "SLURM_JOB_ID=77"));
    assert_int_equal(env.rendezvous[0], '@');
}

static void steps_of_one_job_meet_apart(void **state)
{
    char first[sizeof(env.rendezvous)];
    (void)state;
    ASSERT_OK(READ("SLURM_PROCID=0", "SLURM_NTASKS=4", "SLURM_NNODES=2", "SLURM_JOB_ID=77",
                   "SLURM_STEP_ID=0", "SLURM_NODELIST=n"));
    memcpy(first, env.rendezvous, sizeof(first));
    ASSERT_OK(READ("SLURM_PROCID=0", "SLURM_NTASKS=4", "SLURM_NNODES=2", "SLURM_JOB_ID=77",
                   "SLURM_STEP_ID=1", "SLURM_NODELIST=n"));
    assert_string_not_equal(env.rendezvous, first);
}

static void overlong_settings_are_refused(void **state)
{
    char text[400];
    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    config.rank = "0";
    config.size = "2";
    config.rendezvous = text;
    ASSERT_STATUS(SHOAL_ERR_CONFIG, READ("PATH="));
    config.rendezvous = "h:1";
    config.job = text;
    ASSERT_STATUS(SHOAL_ERR_CONFIG, READ("PATH="));
    ASSERT_DETAIL("SHOAL_JOB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nothing_set_lists_what_was_looked_for, set_up),
        cmocka_unit_test_setup(own_variables_win, set_up),
        cmocka_unit_test_setup(own_variables_need_a_meeting_place, set_up),
        cmocka_unit_test_setup(torchrun, set_up),
        cmocka_unit_test_setup(torchrun_incomplete, set_up),
        cmocka_unit_test_setup(numbers_are_checked, set_up),
        cmocka_unit_test_setup(open_mpi_on_one_host_needs_no_address, set_up),
        cmocka_unit_test_setup(several_hosts_need_one, set_up),
        cmocka_unit_test_setup(mpich_meets_by_its_parent, set_up),
        cmocka_unit_test_setup(slurm_meets_on_its_first_node, set_up),
        cmocka_unit_test_setup(steps_of_one_job_meet_apart, set_up),
        cmocka_unit_test_setup(overlong_settings_are_refused, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
