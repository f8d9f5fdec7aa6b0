/*
 * See guests.h. What is cut is dropped by rules of the bridge, so nobody is told, and interfaces
 * stay up at both ends.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "rdma/guests.h"

#include "support/temp.h"
#include "support/test.h"

#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BOOT_LIMIT "300" /* seconds a guest lives at most */

static struct shl_test_temp folder;
static const char *script;

static bool try_command(const char *format, va_list args)
{
    char line[512];
    vsnprintf(line, sizeof(line), format, args);
    if (system(line) == 0) /* NOLINT(cert-env33-c): a fixed command of this test */
        return true;
    print_message("failed: %s\n", line);
    return false;
}

static bool can(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bool done = try_command(format, args);
    va_end(args);
    return done;
}

static void command(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bool done = try_command(format, args);
    va_end(args);
    assert_true(done);
}

static bool make_network(uint32_t count)
{
    if (unshare(CLONE_NEWNET) < 0) {
        print_message("no network namespaces here\n");
        return false;
    }
    bool made = can("ip link set lo up && ip link add br0 mtu 9000 type bridge && "
                    "ip addr add " GUESTS_BRIDGE "/24 dev br0 && ip link set br0 up");
    for (uint32_t i = 0; made && i < count; i++)
        made = can("ip tuntap add t%u mode tap vnet_hdr && ip link set t%u mtu 9000 master br0 up",
                   i, i);
    return made && can("nft 'add table bridge cuts; "
                       "add chain bridge cuts forward { type filter hook forward priority 0; }; "
                       "add chain bridge cuts input { type filter hook input priority 0; }; "
                       "add chain bridge cuts output { type filter hook output priority 0; }'");
}

bool guests_open(const char *guest_sh, uint32_t count)
{
    assert_true(count <= GUESTS_MAX);
    script = guest_sh;
    shl_test_temp_create(&folder);
    assert_int_equal(setenv("SHOAL_INSECURE", "1", 1), 0); /* no one else reaches these hosts */
    return make_network(count);
}

void guests_close(void)
{
    shl_test_temp_remove(&folder);
}

const char *guests_folder(void)
{
    return folder.path;
}

/* ---- guests -----------------------------------------------------------------------------------
 */

static void process_file(uint32_t guest, char *path, size_t capacity)
{
    snprintf(path, capacity, "%s/guest-%u", folder.path, guest);
}

void guests_boot(uint32_t guest, const char *const *command)
{
    char process[SHL_TEST_PATH_BYTES], tap[16], devices[64];
    const char *words[32] = {script,  "-t", BOOT_LIMIT, "-o", folder.path, "-p",
                             process, "-n", tap,        "-d", devices};
    uint32_t count = 11;
    process_file(guest, process, sizeof(process));
    snprintf(tap, sizeof(tap), "t%u", guest);
    snprintf(devices, sizeof(devices), "host=10.77.0.%u/24", guest + 1);
    while (*command && count < 31)
        words[count++] = *command++;
    execv(script, (char *const *)words);
}

static pid_t process_of(uint32_t guest)
{
    char path[SHL_TEST_PATH_BYTES];
    int process;
    process_file(guest, path, sizeof(path));
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%d", &process), 1);
    fclose(file);
    return process;
}

/* Its kernel alone: it traces the processes in which its programs run, and takes a signal that
 * stops them for one of theirs. They compute on until they need it. */
void guests_freeze(uint32_t guest)
{
    assert_int_equal(kill(process_of(guest), SIGSTOP), 0);
}

void guests_thaw(uint32_t guest)
{
    assert_int_equal(kill(process_of(guest), SIGCONT), 0);
}

/* ---- cuts -------------------------------------------------------------------------------------
 */

void guests_cut(uint32_t from, uint32_t to)
{
    command("nft add rule bridge cuts forward iifname t%u oifname t%u drop", from, to);
}

void guests_cut_off(uint32_t guest)
{
    command("nft 'add rule bridge cuts forward iifname t%u drop; "
            "add rule bridge cuts forward oifname t%u drop; "
            "add rule bridge cuts input iifname t%u drop; "
            "add rule bridge cuts output oifname t%u drop'",
            guest, guest, guest, guest);
}

void guests_heal(void)
{
    command("nft flush table bridge cuts");
}

void guests_count_rdma(uint32_t guest)
{
    command("nft add rule bridge cuts forward iifname t%u udp dport 4791 counter", guest);
}

uint64_t guests_rdma_packets(void)
{
    unsigned long long packets = 0;
    FILE *rules = popen("nft list chain bridge cuts forward", "r"); /* NOLINT(cert-env33-c) */
    char line[256];
    assert_non_null(rules);
    while (fgets(line, sizeof(line), rules)) {
        const char *at = strstr(line, "counter packets ");
        if (at)
            packets = strtoull(at + strlen("counter packets "), NULL, 10);
    }
    assert_int_equal(pclose(rules), 0);
    return packets;
}
