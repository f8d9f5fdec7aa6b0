/*
 * See hosts.h. The router loses by policy rules: a forwarded packet that a rule of type blackhole
 * takes is dropped and nobody is told, unlike with routes at the sender.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/hosts.h"

#include "support/test.h"

#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LOSING 100 /* priority of the rules that lose */

static int namespaces[HOSTS_MAX];
static uint32_t rules; /* that lose */

static void command(const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (system(line) != 0) /* NOLINT(cert-env33-c): a fixed command of this test */
        fail_msg("failed: %s", line);
}

static int new_namespace(void)
{
    if (unshare(CLONE_NEWNET) < 0)
        return -1;
    int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    command("ip link set lo up");
    return fd;
}

static void enter(int fd)
{
    assert_int_equal(setns(fd, CLONE_NEWNET), 0);
}

static void forward(void)
{
    FILE *file = fopen("/proc/sys/net/ipv4/ip_forward", "w");
    assert_non_null(file);
    assert_true(fputs("1", file) >= 0);
    assert_int_equal(fclose(file), 0);
}

bool hosts_open(uint32_t count)
{
    assert_true(count <= HOSTS_MAX);
    int router = new_namespace();
    if (router < 0)
        return false;
    forward();
    rules = 0;                                             /* it is another router */
    assert_int_equal(setenv("SHOAL_INSECURE", "1", 1), 0); /* no one else reaches these hosts */
    for (uint32_t i = 0; i < count; i++) {
        namespaces[i] = new_namespace();
        enter(router);
        command("ip link add name p%u type veth peer name eth0 netns /proc/%d/fd/%d", i,
                (int)getpid(), namespaces[i]);
        command("ip addr add 10.77.%u.1/24 dev p%u && ip link set p%u up", i, i, i);
        enter(namespaces[i]);
        command("ip addr add 10.77.%u.2/24 dev eth0 && ip link set eth0 up && "
                "ip route add default via 10.77.%u.1",
                i, i);
        enter(router);
    }
    return true;
}

void hosts_enter(uint32_t host)
{
    enter(namespaces[host]);
}

void hosts_address(uint32_t host, char *address, size_t capacity)
{
    snprintf(address, capacity, "10.77.%u.2", host);
}

void hosts_cut(uint32_t from, uint32_t to)
{
    char source[32], target[32];
    hosts_address(from, source, sizeof(source));
    hosts_address(to, target, sizeof(target));
    command("ip rule add pref %u from %s to %s blackhole", LOSING, source, target);
    rules++;
}

/* Changes of several rules go to one process: on a busy machine each takes its time to start. */
void hosts_cut_off(uint32_t host)
{
    char address[32];
    hosts_address(host, address, sizeof(address));
    command("printf 'rule add pref %u from %s blackhole\\nrule add pref %u to %s blackhole\\n' | "
            "ip -batch -",
            LOSING, address, LOSING, address);
    rules += 2;
}

void hosts_heal(void)
{
    command("for i in $(seq %u); do echo rule del pref %u; done | ip -batch -", rules, LOSING);
    rules = 0;
}
