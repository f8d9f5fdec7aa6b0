/*
 * Starting, killing and asking etcd servers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit/elastic/store/etcd_cluster.h"

#include "control/sock.h"
#include "core/sys.h"
#include "elastic/store/etcd_http.h"
#include "support/config.h"
#include "support/test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MS 1000000ull

bool etcd_is_installed(void)
{
    return system("command -v etcd >/dev/null") == 0;
}

static uint16_t free_port(void)
{
    struct shl_sockaddr addr, bound;
    int fd;
    assert_true(shl_sockaddr_parse("127.0.0.1", 0, &addr));
    ASSERT_OK(shl_sock_listen(&addr, 1, &fd, &bound));
    shl_fd->close(fd);
    return shl_sockaddr_port(&bound);
}

/* The command line of a member, as words for execvp. */
static void run_member(const struct etcd_cluster *cluster, uint32_t member)
{
    const struct etcd_member *self = &cluster->members[member];
    static char texts[24][512], *words[25];
    char all[256] = "";
    uint32_t n = 0;
    for (uint32_t i = 0; i < cluster->count; i++)
        snprintf(all + strlen(all), sizeof(all) - strlen(all), "%sm%u=http://127.0.0.1:%u",
                 i ? "," : "", i, cluster->members[i].peer_port);
    snprintf(texts[n++], 512, "etcd");
    snprintf(texts[n++], 512, "--name=m%u", member);
    snprintf(texts[n++], 512, "--data-dir=%s/m%u", cluster->temp.path, member);
    snprintf(texts[n++], 512, "--listen-client-urls=%s", self->url);
    snprintf(texts[n++], 512, "--advertise-client-urls=%s", self->url);
    snprintf(texts[n++], 512, "--listen-peer-urls=http://127.0.0.1:%u", self->peer_port);
    snprintf(texts[n++], 512, "--initial-advertise-peer-urls=http://127.0.0.1:%u", self->peer_port);
    snprintf(texts[n++], 512, "--initial-cluster=%s", all);
    snprintf(texts[n++], 512, "--heartbeat-interval=100");
    snprintf(texts[n++], 512, "--election-timeout=1000");
    if (cluster->tls) {
        snprintf(texts[n++], 512, "--cert-file=%s/cert.pem", cluster->temp.path);
        snprintf(texts[n++], 512, "--key-file=%s/key.pem", cluster->temp.path);
        snprintf(texts[n++], 512, "--trusted-ca-file=%s/cert.pem", cluster->temp.path);
        snprintf(texts[n++], 512, "--client-cert-auth");
    }
    for (uint32_t i = 0; i < n; i++)
        words[i] = texts[i];
    words[n] = NULL;
    execvp("etcd", words);
    _exit(127);
}

void etcd_member_start(struct etcd_cluster *cluster, uint32_t member)
{
    char log[SHL_TEST_PATH_BYTES + 16];
    snprintf(log, sizeof(log), "%s/m%u.log", cluster->temp.path, member);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        run_member(cluster, member);
    }
    assert_true(child > 0);
    cluster->members[member].pid = child;
}

void etcd_member_kill(struct etcd_cluster *cluster, uint32_t member)
{
    struct etcd_member *self = &cluster->members[member];
    int status;
    if (!self->pid)
        return;
    kill(self->pid, SIGKILL);
    assert_int_equal(waitpid(self->pid, &status, 0), self->pid);
    self->pid = 0;
}

void etcd_member_stop(struct etcd_cluster *cluster, uint32_t member)
{
    pid_t pid = cluster->members[member].pid;
    int status;
    assert_int_equal(kill(pid, SIGSTOP), 0);
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
}

/* A client of the test's own, without the store's logic. */
static void open_http(const struct etcd_cluster *cluster, struct shl_config *config,
                      struct shl_etcd_http *http)
{
    static char settings[3][SHL_TEST_PATH_BYTES + 64];
    const char *all[] = {settings[0], settings[1], settings[2], NULL};
    snprintf(settings[0], sizeof(settings[0]), "SHOAL_ETCD_CA_FILE=%s/cert.pem",
             cluster->temp.path);
    snprintf(settings[1], sizeof(settings[1]), "SHOAL_ETCD_CERT_FILE=%s/cert.pem",
             cluster->temp.path);
    snprintf(settings[2], sizeof(settings[2]), "SHOAL_ETCD_KEY_FILE=%s/key.pem",
             cluster->temp.path);
    shl_test_config(config, cluster->tls ? all : NULL);
    ASSERT_OK(shl_etcd_http_open(config, http));
}

static bool post(struct shl_etcd_http *http, const char *url, const char *path, const char *body)
{
    long code;
    snprintf(http->request, SHL_ETCD_TEXT_MAX, "%s", body);
    return shl_etcd_http_post(http, url, path, shl_now_ns() + 5000 * MS, &code) == SHOAL_OK &&
           code == 200;
}

void etcd_post(struct etcd_cluster *cluster, const char *path, const char *body)
{
    struct shl_config config;
    struct shl_etcd_http http;
    open_http(cluster, &config, &http);
    bool good = post(&http, cluster->members[0].url, path, body);
    if (!good)
        fail_msg("%s %s: %.*s %s", path, body, (int)http.answer_bytes, http.answer,
                 shl_error_text());
    shl_etcd_http_close(&http);
    shl_config_free(&config);
}

/* The member that says of itself that it leads; ETCD_MEMBERS: nobody does. */
static uint32_t find_leader(struct etcd_cluster *cluster, struct shl_etcd_http *http)
{
    for (uint32_t i = 0; i < cluster->count; i++) {
        json_error_t error;
        if (!cluster->members[i].pid ||
            !post(http, cluster->members[i].url, "/v3/maintenance/status", "{}"))
            continue;
        json_t *root = http->libs->loadb(http->answer, http->answer_bytes, 0, &error);
        const json_t *header = http->libs->object_get(root, "header");
        const char *self = http->libs->string_value(http->libs->object_get(header, "member_id"));
        const char *leader = http->libs->string_value(http->libs->object_get(root, "leader"));
        bool leads = self && leader && strcmp(self, leader) == 0;
        if (root)
            http->libs->delete (root);
        if (leads)
            return i;
    }
    return ETCD_MEMBERS;
}

uint32_t etcd_leader(struct etcd_cluster *cluster)
{
    struct shl_config config;
    struct shl_etcd_http http;
    uint32_t leader = ETCD_MEMBERS;
    uint64_t end_ns = shl_now_ns() + 60000 * MS;
    open_http(cluster, &config, &http);
    while (leader == ETCD_MEMBERS) {
        leader = find_leader(cluster, &http);
        if (leader == ETCD_MEMBERS && shl_now_ns() > end_ns)
            fail_msg("etcd has no leader after a minute; its logs are in %s", cluster->temp.path);
        if (leader == ETCD_MEMBERS)
            shl_time->sleep_ns(20 * MS);
    }
    shl_etcd_http_close(&http);
    shl_config_free(&config);
    return leader;
}

static void make_certificate(const struct etcd_cluster *cluster)
{
    char command[3 * SHL_TEST_PATH_BYTES];
    snprintf(command, sizeof(command),
             "cd '%s' && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test "
             "-addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem 2>/dev/null",
             cluster->temp.path);
    assert_int_equal(system(command), 0);
}

void etcd_cluster_start(struct etcd_cluster *cluster, uint32_t count, bool tls)
{
    memset(cluster, 0, sizeof(*cluster));
    cluster->count = count;
    cluster->tls = tls;
    shl_test_temp_create(&cluster->temp);
    if (tls)
        make_certificate(cluster);
    snprintf(cluster->address, sizeof(cluster->address), tls ? "etcds://" : "etcd://");
    for (uint32_t i = 0; i < count; i++) {
        struct etcd_member *member = &cluster->members[i];
        size_t at = strlen(cluster->address);
        member->client_port = free_port();
        member->peer_port = free_port();
        snprintf(member->url, sizeof(member->url), "%s://127.0.0.1:%u", tls ? "https" : "http",
                 member->client_port);
        snprintf(cluster->address + at, sizeof(cluster->address) - at, "%s127.0.0.1:%u",
                 i ? "," : "", member->client_port);
    }
    for (uint32_t i = 0; i < count; i++)
        etcd_member_start(cluster, i);
    (void)etcd_leader(cluster);
}

void etcd_cluster_stop(struct etcd_cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->count; i++)
        etcd_member_kill(cluster, i);
    shl_test_temp_remove(&cluster->temp);
}
