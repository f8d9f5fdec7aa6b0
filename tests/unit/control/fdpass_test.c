/*
 * Passing descriptors, and the bounded transfers of sockets below it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/control.h"
#include "control/sock.h"
#include "core/sys.h"
#include "support/fault.h"
#include "support/leaks.h"
#include "support/test.h"

#include <fcntl.h>
#include <sys/stat.h>

#define MS 1000000ull
#define SOON (shl_now_ns() + 20 * MS)
#define FAR (shl_now_ns() + 30000 * MS)

static void make_pair(int ends[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
}

static void close_pair(const int ends[2])
{
    shl_fd->close(ends[0]);
    shl_fd->close(ends[1]);
}

static ino_t inode(int fd)
{
    struct stat info;
    assert_int_equal(fstat(fd, &info), 0);
    return info.st_ino;
}

static void descriptors_and_bytes_arrive(void **state)
{
    static const uint32_t counts[] = {0, 1, 2, 64};
    (void)state;
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        int ends[2], sent[64], got[64];
        uint8_t data[4096], read[4096];
        uint32_t count;
        size_t bytes;
        make_pair(ends);
        for (uint32_t j = 0; j < counts[i]; j++)
            assert_true((sent[j] = shl_mem->memfd("x", 0)) >= 0);
        memset(data, 'd', sizeof(data));
        ASSERT_OK(shl_control_send_fds(ends[0], sent, counts[i], data, sizeof(data), FAR));
        ASSERT_OK(shl_control_send_fds(ends[0], sent, counts[i], "next", 5, FAR));
        ASSERT_OK(shl_control_recv_fds(ends[1], got, 64, &count, read, sizeof(read), &bytes, FAR));
        assert_int_equal(count, counts[i]);
        assert_int_equal(bytes, sizeof(data));
        assert_memory_equal(read, data, sizeof(data));
        for (uint32_t j = 0; j < count; j++) {
            assert_int_equal(inode(got[j]), inode(sent[j]));
            assert_true(fcntl(got[j], F_GETFD) & FD_CLOEXEC);
            shl_fd->close(got[j]);
        }
        ASSERT_OK(shl_control_recv_fds(ends[1], got, 64, &count, read, sizeof(read), &bytes, FAR));
        assert_string_equal(read, "next");
        for (uint32_t j = 0; j < count; j++) {
            shl_fd->close(got[j]);
            shl_fd->close(sent[j]);
        }
        close_pair(ends);
    }
}

static void too_much_is_refused_and_closed(void **state)
{
    int ends[2], sent[65], got[2];
    uint8_t data[4097] = {0}, read[8];
    uint32_t count, before;
    size_t bytes;
    (void)state;
    make_pair(ends);
    for (int i = 0; i < 65; i++)
        sent[i] = ends[0];
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_control_send_fds(ends[0], sent, 65, data, 1, FAR));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shl_control_send_fds(ends[0], sent, 1, data, 4097, FAR));
    before = shl_test_open_fds();
    ASSERT_OK(shl_control_send_fds(ends[0], sent, 3, data, 1, FAR));
    ASSERT_STATUS(SHOAL_ERR_PEER,
                  shl_control_recv_fds(ends[1], got, 2, &count, read, sizeof(read), &bytes, FAR));
    ASSERT_DETAIL("3 came and 2");
    assert_int_equal(shl_test_open_fds(), before);
    close_pair(ends);
    make_pair(ends);
    ASSERT_OK(shl_control_send_fds(ends[0], ends, 1, data, 9, FAR));
    ASSERT_STATUS(SHOAL_ERR_PEER,
                  shl_control_recv_fds(ends[1], got, 2, &count, read, sizeof(read), &bytes, FAR));
    close_pair(ends);
    assert_int_equal(shl_test_open_fds(), before - 2);
}

static void silence_and_departure_are_told_apart(void **state)
{
    int ends[2], got[1];
    uint8_t read[8];
    uint32_t count;
    size_t bytes;
    (void)state;
    make_pair(ends);
    ASSERT_STATUS(SHOAL_ERR_TIMEOUT,
                  shl_control_recv_fds(ends[1], got, 1, &count, read, 8, &bytes, SOON));
    shl_fd->close(ends[0]);
    ASSERT_STATUS(SHOAL_ERR_PEER,
                  shl_control_recv_fds(ends[1], got, 1, &count, read, 8, &bytes, FAR));
    assert_true(shl_control_send_fds(ends[1], NULL, 0, read, 8, FAR) < 0);
    shl_fd->close(ends[1]);
}

/* A socket whose other end belongs to somebody else. */
static int foreign_getsockopt(int fd, int level, int name, void *value, socklen_t *bytes)
{
    int result = shl_sock_kernel.getsockopt(fd, level, name, value, bytes);
    if (name == SO_PEERCRED)
        ((struct ucred *)value)->uid++;
    return result;
}

static void another_user_is_refused(void **state)
{
    struct shl_sys_sock foreign = shl_sock_kernel;
    int ends[2], got[1];
    uint32_t count;
    size_t bytes;
    (void)state;
    make_pair(ends);
    foreign.getsockopt = foreign_getsockopt;
    shl_sock = &foreign;
    ASSERT_STATUS(SHOAL_ERR_AUTH, shl_control_send_fds(ends[0], ends, 1, "x", 1, FAR));
    ASSERT_STATUS(SHOAL_ERR_AUTH,
                  shl_control_recv_fds(ends[1], got, 1, &count, NULL, 0, &bytes, FAR));
    shl_sock = &shl_sock_kernel;
    close_pair(ends);
}

static enum shoal_status pass_one(void *arg)
{
    int ends[2], got[1];
    uint32_t count = 0;
    size_t bytes;
    uint8_t read[8];
    (void)arg;
    make_pair(ends);
    enum shoal_status status = shl_control_send_fds(ends[0], ends, 1, "12345678", 8, FAR);
    if (status == SHOAL_OK)
        status = shl_control_recv_fds(ends[1], got, 1, &count, read, 8, &bytes, FAR);
    if (status == SHOAL_OK)
        shl_fd->close(got[0]);
    close_pair(ends);
    return status;
}

static void no_descriptor_leaks_when_the_kernel_fails(void **state)
{
    (void)state;
    assert_true(shl_fault_sweep(SHL_FAULT_ALL, pass_one, NULL, 50) >= 6);
}

/* ---- bounded transfers ------------------------------------------------------------------- */

static void a_full_socket_ends_at_the_deadline(void **state)
{
    static uint8_t much[8 << 20];
    int ends[2];
    (void)state;
    make_pair(ends);
    ASSERT_STATUS(SHOAL_ERR_TIMEOUT, shl_sock_send_all(ends[0], much, sizeof(much), SOON));
    close_pair(ends);
}

static void a_short_message_says_how_short(void **state)
{
    int ends[2];
    char read[10];
    (void)state;
    make_pair(ends);
    ASSERT_OK(shl_sock_send_all(ends[0], "1234", 4, FAR));
    shl_fd->close(ends[0]);
    ASSERT_STATUS(SHOAL_ERR_PEER, shl_sock_recv_all(ends[1], read, 10, FAR));
    ASSERT_DETAIL("4 of 10");
    shl_fd->close(ends[1]);
}

static void the_limit_of_descriptors_is_stated(void **state)
{
    (void)state;
    shl_sock_raise_limit();
    ASSERT_OK(shl_sock_check_limit(8, "a test"));
    ASSERT_STATUS(SHOAL_ERR_SYSTEM, shl_sock_check_limit(UINT64_MAX, "a test"));
    ASSERT_DETAIL("ulimit -n");
    ASSERT_DETAIL("a test needs about");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptors_and_bytes_arrive),
        cmocka_unit_test(too_much_is_refused_and_closed),
        cmocka_unit_test(silence_and_departure_are_told_apart),
        cmocka_unit_test(another_user_is_refused),
        cmocka_unit_test(no_descriptor_leaks_when_the_kernel_fails),
        cmocka_unit_test(a_full_socket_ends_at_the_deadline),
        cmocka_unit_test(a_short_message_says_how_short),
        cmocka_unit_test(the_limit_of_descriptors_is_stated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
