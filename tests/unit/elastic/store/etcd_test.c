/*
 * A register in real etcd servers: one, and a cluster of three that loses its leader.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/base64.h"
#include "core/log.h"
#include "elastic/store/etcd_text.h"
#include "support/config.h"
#include "support/store_user.h"
#include "support/test.h"
#include "unit/elastic/store/contract.h"
#include "unit/elastic/store/etcd_cluster.h"

#include <signal.h>
#include <stdio.h>

static struct etcd_cluster cluster;

static void load(struct shl_config *config, const char *timeout, const char *one, const char *two,
                 const char *three)
{
    shl_test_config(config, (const char *[]){timeout, one, two, three, NULL});
}

static void join(struct store_user *user, const struct shl_config *config, const char *job)
{
    struct shl_store_options options = {.config = config, .address = cluster.address, .job = job};
    ASSERT_OK(store_user_open(user, &options));
}

static void need_etcd(void)
{
    if (!etcd_is_installed())
        TEST_SKIP("no etcd here; on Debian: apt-get install etcd-server");
}

static int stop(void **state)
{
    (void)state;
    if (cluster.count)
        etcd_cluster_stop(&cluster);
    memset(&cluster, 0, sizeof(cluster));
    return 0;
}

static void one_server_keeps_the_contract(void **state)
{
    static struct store_user user;
    struct shl_config patient, hasty;
    (void)state;
    need_etcd();
    etcd_cluster_start(&cluster, 1, false);
    load(&patient, "SHOAL_STORE_TIMEOUT_MS=30000", NULL, NULL, NULL);
    load(&hasty, "SHOAL_STORE_TIMEOUT_MS=200", NULL, NULL, NULL);
    struct shl_store_options options = {
        .config = &patient, .address = cluster.address, .job = "job"};
    store_contract_register(&options);
    store_contract_rivals(&options);
    join(&user, &hasty, "another job");
    store_assert(store_user_read_known(&user), SHL_STORE_OK, 0, ""); /* has a key of its own */
    etcd_member_stop(&cluster, 0);
    store_assert(store_user_read(&user), SHL_STORE_UNKNOWN, 0, NULL);
    store_assert(store_user_swap(&user, 0, 0, "one", 3), SHL_STORE_UNKNOWN, 0, NULL);
    kill(cluster.members[0].pid, SIGCONT);
    store_user_read_known(&user);
    assert_true(user.answer.version <= 1); /* the swap came late, or never */
    uint64_t version = user.answer.version;
    etcd_member_kill(&cluster, 0);
    store_assert(store_user_read(&user), SHL_STORE_UNKNOWN, 0, NULL);
    etcd_member_start(&cluster, 0);
    store_assert(store_user_read_known(&user), SHL_STORE_OK, version, NULL);
    store_user_close(&user);
    shl_config_free(&patient);
    shl_config_free(&hasty);
}

/* Counts in the register while leaders die: every acknowledged step is there, every other one once
 * or not at all. */
static void a_cluster_loses_its_leader_and_nothing_else(void **state)
{
    static struct store_user user;
    struct shl_config config;
    uint64_t number = 0, version = 0;
    (void)state;
    need_etcd();
    etcd_cluster_start(&cluster, 3, false);
    load(&config, "SHOAL_STORE_TIMEOUT_MS=4000", NULL, NULL, NULL);
    join(&user, &config, "job");
    for (uint32_t round = 0; round < 3; round++) {
        uint32_t leader = etcd_leader(&cluster);
        for (uint32_t i = 0; i < 8; i++) {
            uint64_t next = number + 1;
            if (i == 4 && round < 2)
                etcd_member_kill(&cluster, leader);
            else if (i == 4)
                etcd_member_stop(&cluster, leader); /* as a host that is cut off */
            enum shl_store_result result =
                store_user_swap(&user, 0, version, &next, sizeof(next))->result;
            if (result != SHL_STORE_OK) {
                uint64_t found = 0;
                store_user_read_known(&user);
                memcpy(&found, user.answer.bytes, user.answer.size ? sizeof(found) : 0);
                assert_true(found == number || (found == next && result == SHL_STORE_UNKNOWN));
                next = found;
            }
            assert_int_equal(user.answer.version, next);
            number = version = next;
        }
        if (round < 2)
            etcd_member_start(&cluster, leader);
        else
            kill(cluster.members[leader].pid, SIGCONT);
    }
    assert_true(number >= 18);
    store_user_close(&user);
    shl_config_free(&config);
}

static void users_and_passwords(void **state)
{
    static struct store_user user;
    struct shl_config none, wrong, right;
    (void)state;
    need_etcd();
    etcd_cluster_start(&cluster, 1, false);
    etcd_post(&cluster, "/v3/auth/user/add", "{\"name\":\"root\",\"password\":\"pass word\"}");
    etcd_post(&cluster, "/v3/auth/role/add", "{\"name\":\"root\"}");
    etcd_post(&cluster, "/v3/auth/user/grant", "{\"user\":\"root\",\"role\":\"root\"}");
    etcd_post(&cluster, "/v3/auth/enable", "{}");
    load(&none, "SHOAL_STORE_TIMEOUT_MS=5000", NULL, NULL, NULL);
    load(&wrong, "SHOAL_STORE_TIMEOUT_MS=5000", "SHOAL_ETCD_USER=root",
         "SHOAL_ETCD_PASSWORD=password", NULL);
    load(&right, "SHOAL_STORE_TIMEOUT_MS=30000", "SHOAL_ETCD_USER=root",
         "SHOAL_ETCD_PASSWORD=pass word", NULL);
    join(&user, &none, "job");
    store_assert(store_user_swap(&user, 0, 0, "evil", 4), SHL_STORE_UNKNOWN, 0, NULL);
    store_user_close(&user);
    join(&user, &wrong, "job");
    store_assert(store_user_swap(&user, 0, 0, "evil", 4), SHL_STORE_UNKNOWN, 0, NULL);
    store_user_close(&user);
    join(&user, &right, "job");
    store_assert(store_user_swap(&user, 0, 0, "good", 4), SHL_STORE_OK, 1, "");
    /* Tokens do not survive a restart: another login. */
    etcd_member_kill(&cluster, 0);
    etcd_member_start(&cluster, 0);
    store_assert(store_user_read_known(&user), SHL_STORE_OK, 1, "good");
    store_user_close(&user);
    shl_config_free(&none);
    shl_config_free(&wrong);
    shl_config_free(&right);
}

static void with_tls(void **state)
{
    static struct store_user user;
    struct shl_config bare, trusting, right;
    char settings[3][SHL_TEST_PATH_BYTES + 64];
    (void)state;
    need_etcd();
    etcd_cluster_start(&cluster, 1, true);
    snprintf(settings[0], sizeof(settings[0]), "SHOAL_ETCD_CA_FILE=%s/cert.pem", cluster.temp.path);
    snprintf(settings[1], sizeof(settings[1]), "SHOAL_ETCD_CERT_FILE=%s/cert.pem",
             cluster.temp.path);
    snprintf(settings[2], sizeof(settings[2]), "SHOAL_ETCD_KEY_FILE=%s/key.pem", cluster.temp.path);
    load(&bare, "SHOAL_STORE_TIMEOUT_MS=5000", NULL, NULL, NULL);
    load(&trusting, "SHOAL_STORE_TIMEOUT_MS=5000", settings[0], NULL, NULL);
    load(&right, "SHOAL_STORE_TIMEOUT_MS=30000", settings[0], settings[1], settings[2]);
    join(&user, &right, "job");
    store_assert(store_user_swap(&user, 0, 0, "good", 4), SHL_STORE_OK, 1, "");
    store_user_close(&user);
    join(&user, &bare, "job"); /* does not trust the server */
    store_assert(store_user_read(&user), SHL_STORE_UNKNOWN, 0, NULL);
    store_user_close(&user);
    join(&user, &trusting, "job"); /* is not trusted by it */
    store_assert(store_user_read(&user), SHL_STORE_UNKNOWN, 0, NULL);
    store_user_close(&user);
    shl_config_free(&bare);
    shl_config_free(&trusting);
    shl_config_free(&right);
}

static void addresses_that_mean_nothing(void **state)
{
    static const char *const addresses[] = {"etcd://", "etcd://h:x", "etcd://h:1,,g:2",
                                            "etcds://h:99999", "etcd://h:1,"};
    static struct store_user user;
    struct shl_config config;
    char job[300];
    (void)state;
    load(&config, "SHOAL_STORE_TIMEOUT_MS=100", NULL, NULL, NULL);
    for (uint32_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        struct shl_store_options options = {
            .config = &config, .address = addresses[i], .job = "job"};
        ASSERT_STATUS(SHOAL_ERR_INVALID, store_user_open(&user, &options));
    }
    memset(job, 'x', sizeof(job) - 1);
    job[sizeof(job) - 1] = '\0';
    struct shl_store_options options = {.config = &config, .address = "etcd://h", .job = job};
    ASSERT_STATUS(SHOAL_ERR_INVALID, store_user_open(&user, &options));
    shl_config_free(&config);
}

/* ---- text ---------------------------------------------------------------------------------- */

static void answers_are_read_or_refused(void **state)
{
    static const struct {
        const char *text;
        bool good;
        uint64_t token;
        const char *value;
    } cases[] = {
        {"{\"header\":{},\"kvs\":[{\"mod_revision\":\"7\",\"value\":\"YWJj\"}]}", true, 7, "abc"},
        {"{\"header\":{},\"kvs\":[{\"mod_revision\":\"7\",\"value\":\"YWI=\"}]}", true, 7, "ab"},
        {"{\"header\":{},\"kvs\":[{\"mod_revision\":\"7\",\"value\":\"YQ==\"}]}", true, 7, "a"},
        {"{\"header\":{}}", true, 0, ""},
        {"{\"header\":{},\"kvs\":[]}", true, 0, ""},
        {"{\"kvs\":[]}", false, 0, NULL},
        {"", false, 0, NULL},
        {"[]", false, 0, NULL},
        {"{\"header\":{},\"kvs\":[{\"mod_revision\":7,\"value\":\"YWJj\"}]}", false, 0, NULL},
        {"{\"header\":{},\"kvs\":[{\"mod_revision\":\"-7\",\"value\":\"YWJj\"}]}", false, 0, NULL},
        {"{\"header\":{},\"kvs\":[{\"mod_revision\":\"0\",\"value\":\"YWJj\"}]}", false, 0, NULL},
        {"{\"header\":{},\"kvs\":[{\"value\":\"YWJj\"}]}", false, 0, NULL},
        {"{\"header\":{},\"kvs\":[{\"mod_revision\":\"7\"}]}", false, 0, NULL},
        {"{\"header\":{},\"kvs\":[{\"mod_revision\":\"7\",\"value\":\"YWJ\"}]}", false, 0, NULL},
        {"{\"header\":{},\"kvs\":[{\"mod_revision\":\"7\",\"value\":\"Y===\"}]}", false, 0, NULL},
        {"{\"header\":{},\"kvs\":[{\"mod_revision\":\"7\",\"value\":\"Y=Jj\"}]}", false, 0, NULL},
        {"{\"header\":{},\"kvs\":[{\"mod_revision\":\"7\",\"value\":\"Y!Jj\"}]}", false, 0, NULL},
        {"{\"header\":{},\"kvs\":[{},{}]}", false, 0, NULL},
    };
    static struct shl_cell cell;
    const struct shl_etcd_libs *libs;
    (void)state;
    ASSERT_OK(shl_etcd_libs_load(&libs));
    for (uint32_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *text = cases[i].text;
        if (shl_etcd_get_range(libs, text, strlen(text), &cell) != cases[i].good)
            fail_msg("%s", text);
        if (!cases[i].good)
            continue;
        assert_int_equal(cell.token, cases[i].token);
        assert_int_equal(cell.size, strlen(cases[i].value));
        assert_memory_equal(cell.bytes, cases[i].value, cell.size);
    }
}

static void values_of_every_size_come_back(void **state)
{
    static struct shl_cell cell, read;
    static char text[SHL_ETCD_TEXT_MAX + 128], encoded[SHL_ETCD_TEXT_MAX];
    const struct shl_etcd_libs *libs;
    (void)state;
    ASSERT_OK(shl_etcd_libs_load(&libs));
    for (size_t i = 0; i < sizeof(cell.bytes); i++)
        cell.bytes[i] = (uint8_t)(i * 131 >> 3);
    for (size_t size = 1; size <= SHL_CELL_BYTES_MAX;
         size += size < 70 || size > SHL_CELL_BYTES_MAX - 5 ? 1
                 : size < SHL_CELL_BYTES_MAX / 2            ? size
                                                            : SHL_CELL_BYTES_MAX - 4 - size) {
        shl_base64_encode(encoded, cell.bytes, size);
        int bytes = snprintf(text, sizeof(text),
                             "{\"header\":{},\"kvs\":[{\"mod_revision\":\"1\",\"value\":\"%s\"}]}",
                             encoded);
        assert_true(shl_etcd_get_range(libs, text, (size_t)bytes, &read));
        assert_int_equal(read.size, size);
        assert_memory_equal(read.bytes, cell.bytes, size);
    }
    cell.size = SHL_CELL_BYTES_MAX; /* the largest transaction fits */
    memset(encoded, 'k', SHL_ETCD_KEY_MAX - 1);
    encoded[SHL_ETCD_KEY_MAX - 1] = '\0';
    shl_etcd_put_txn(text, encoded, UINT64_MAX, &cell);
    assert_true(strlen(text) < SHL_ETCD_TEXT_MAX);
}

static void logins_need_no_escaping(void **state)
{
    static char text[SHL_ETCD_TEXT_MAX];
    (void)state;
    assert_true(shl_etcd_put_login(text, "me", "pass word"));
    assert_false(shl_etcd_put_login(text, "m\"e", "pass"));
    assert_false(shl_etcd_put_login(text, "me", "pa\\ss"));
    assert_false(shl_etcd_put_login(text, "me", "pa\nss"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_that_mean_nothing),
        cmocka_unit_test(answers_are_read_or_refused),
        cmocka_unit_test(values_of_every_size_come_back),
        cmocka_unit_test(logins_need_no_escaping),
        cmocka_unit_test_teardown(one_server_keeps_the_contract, stop),
        cmocka_unit_test_teardown(a_cluster_loses_its_leader_and_nothing_else, stop),
        cmocka_unit_test_teardown(users_and_passwords, stop),
        cmocka_unit_test_teardown(with_tls, stop),
    };
    shl_log_configure(SHL_LOG_OFF, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
