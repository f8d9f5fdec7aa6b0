/*
 * The journal of a register: what is written is found again, and damage is never taken for truth.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/store/journal.h"

#include "core/file.h"
#include "core/log.h"
#include "core/sys.h"
#include "elastic/store/journal_image.h"
#include "elastic/store/store.h"
#include "support/fault.h"
#include "support/temp.h"
#include "support/test.h"

#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILE_MAX 8192

static const uint8_t job[16] = "the job", other_job[16] = "another job";
static struct shl_test_temp temp;
static char path[SHL_TEST_PATH_BYTES + 32];

static int set_up(void **state)
{
    (void)state;
    shl_log_configure(SHL_LOG_OFF, NULL);
    shl_test_temp_create(&temp);
    snprintf(path, sizeof(path), "%s/journal", temp.path);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    shl_test_temp_remove(&temp);
    return 0;
}

static void open_it(struct shl_journal *journal)
{
    ASSERT_OK(shl_journal_open(journal, path, job));
}

static void assert_holds(const struct shl_journal *journal, uint64_t version, const char *value)
{
    assert_int_equal(journal->version, version);
    assert_int_equal(journal->size, strlen(value));
    assert_memory_equal(journal->value, value, journal->size);
}

static size_t load_file(uint8_t *data)
{
    size_t bytes;
    ASSERT_OK(shl_file_read(path, data, FILE_MAX, &bytes));
    return bytes;
}

static void save_file(const void *data, size_t bytes)
{
    shl_test_temp_write(&temp, "journal", data, bytes, NULL);
}

/* A journal with the values "first" and "second"; returns its bytes and incarnation. */
static size_t make_sample(uint8_t *data, uint64_t *incarnation)
{
    struct shl_journal journal;
    open_it(&journal);
    ASSERT_OK(shl_journal_write(&journal, "first", 5));
    ASSERT_OK(shl_journal_write(&journal, "second", 6));
    *incarnation = journal.incarnation;
    shl_journal_close(&journal);
    return load_file(data);
}

static void what_is_written_is_found_again(void **state)
{
    struct shl_journal journal;
    struct stat info;
    (void)state;
    open_it(&journal);
    uint64_t incarnation = journal.incarnation;
    assert_true(incarnation != 0 && !journal.restored);
    assert_holds(&journal, 0, "");
    ASSERT_OK(shl_journal_write(&journal, "one", 3));
    shl_journal_close(&journal);
    open_it(&journal);
    assert_true(journal.restored && journal.incarnation == incarnation);
    assert_holds(&journal, 1, "one");
    ASSERT_OK(shl_journal_write(&journal, "two", 3));
    ASSERT_OK(shl_journal_write(&journal, "", 0));
    shl_journal_close(&journal);
    open_it(&journal);
    assert_true(journal.incarnation == incarnation);
    assert_holds(&journal, 3, "");
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    shl_journal_close(&journal);
}

static void a_lost_journal_begins_another_incarnation(void **state)
{
    struct shl_journal journal;
    uint8_t data[FILE_MAX];
    uint64_t incarnation;
    (void)state;
    make_sample(data, &incarnation);
    assert_int_equal(unlink(path), 0);
    open_it(&journal);
    assert_true(!journal.restored && journal.incarnation != incarnation);
    assert_holds(&journal, 0, "");
    shl_journal_close(&journal);
    save_file("", 0); /* made by somebody's `touch` */
    open_it(&journal);
    assert_true(!journal.restored);
    shl_journal_close(&journal);
}

static void in_memory_only(void **state)
{
    struct shl_journal journal;
    (void)state;
    ASSERT_OK(shl_journal_open(&journal, NULL, job));
    assert_true(journal.incarnation != 0);
    ASSERT_OK(shl_journal_write(&journal, "one", 3));
    assert_holds(&journal, 1, "one");
    shl_journal_close(&journal);
}

/* Whatever bit of the file is changed: it is never another truth. */
static void every_changed_byte_is_noticed(void **state)
{
    uint8_t data[FILE_MAX];
    uint64_t incarnation;
    struct shl_journal_image image;
    (void)state;
    size_t bytes = make_sample(data, &incarnation);
    for (size_t at = 0; at < bytes; at++)
        for (int bit = 0; bit < 8; bit++) {
            data[at] ^= (uint8_t)(1 << bit);
            if (shl_journal_read_image(data, bytes, job, &image) !=
                (at < 4 ? SHL_JOURNAL_NONE : SHL_JOURNAL_DAMAGED))
                fail_msg("bit %d of byte %zu of %zu", bit, at, bytes);
            data[at] ^= (uint8_t)(1 << bit);
        }
    assert_int_equal(shl_journal_read_image(data, bytes, job, &image), SHL_JOURNAL_WHOLE);
}

static void a_torn_end_does_not_count(void **state)
{
    uint8_t data[FILE_MAX];
    uint64_t incarnation;
    struct shl_journal journal;
    (void)state;
    size_t bytes = make_sample(data, &incarnation);
    size_t first = SHL_JOURNAL_HEAD_BYTES + SHL_JOURNAL_RECORD_BYTES + 5;
    for (size_t cut = SHL_JOURNAL_HEAD_BYTES; cut <= bytes; cut++) {
        save_file(data, cut);
        open_it(&journal);
        assert_true(journal.restored && journal.incarnation == incarnation);
        if (cut < first)
            assert_holds(&journal, 0, "");
        else if (cut < bytes)
            assert_holds(&journal, 1, "first");
        else
            assert_holds(&journal, 2, "second");
        /* It goes on from there. */
        uint64_t version = journal.version;
        ASSERT_OK(shl_journal_write(&journal, "next", 4));
        shl_journal_close(&journal);
        open_it(&journal);
        assert_holds(&journal, version + 1, "next");
        shl_journal_close(&journal);
    }
}

static void a_damaged_journal_is_kept_aside(void **state)
{
    uint8_t data[FILE_MAX], aside[FILE_MAX];
    char aside_path[sizeof(path) + 16];
    uint64_t incarnation;
    size_t aside_bytes;
    struct shl_journal journal;
    (void)state;
    size_t bytes = make_sample(data, &incarnation);
    snprintf(aside_path, sizeof(aside_path), "%s.damaged", path);
    for (size_t cut = 4; cut < SHL_JOURNAL_HEAD_BYTES; cut += 7) {
        save_file(data, cut); /* heads are never torn, since files appear when they are whole */
        open_it(&journal);
        assert_true(!journal.restored && journal.incarnation != incarnation);
        shl_journal_close(&journal);
    }
    data[bytes - 1] ^= 1;
    save_file(data, bytes);
    open_it(&journal);
    assert_true(!journal.restored && journal.incarnation != incarnation);
    assert_holds(&journal, 0, "");
    shl_journal_close(&journal);
    ASSERT_OK(shl_file_read(aside_path, aside, sizeof(aside), &aside_bytes));
    assert_int_equal(aside_bytes, bytes);
    assert_memory_equal(aside, data, bytes);
}

static void it_is_refused(void **state)
{
    static const char text[] = "these notes are no journal, and nobody wants to lose them";
    uint8_t data[FILE_MAX];
    uint64_t incarnation;
    struct shl_journal journal, second;
    (void)state;
    size_t bytes = make_sample(data, &incarnation);
    ASSERT_STATUS(SHOAL_ERR_CONFIG, shl_journal_open(&journal, path, other_job));
    ASSERT_DETAIL("of another job");
    open_it(&journal);
    ASSERT_STATUS(SHOAL_ERR_CONFIG, shl_journal_open(&second, path, job));
    ASSERT_DETAIL("in use by another coordinator");
    shl_journal_close(&journal);
    ASSERT_STATUS(SHOAL_ERR_SYSTEM, shl_journal_open(&journal, "/nonexistent/journal", job));
    ASSERT_DETAIL("/nonexistent/journal");
    ASSERT_STATUS(SHOAL_ERR_SYSTEM, shl_journal_open(&journal, temp.path, job));
    save_file(text, sizeof(text)); /* not taken for damage */
    ASSERT_STATUS(SHOAL_ERR_CONFIG, shl_journal_open(&journal, path, job));
    ASSERT_DETAIL("no journal");
    assert_int_equal(load_file(data), sizeof(text));
    assert_true(bytes > 0);
}

static void another_format_is_refused(void **state)
{
    /* As a later version may write it: its check is in the same place. */
    static const uint8_t head[SHL_JOURNAL_HEAD_BYTES] = {
        0x53, 0x48, 0x4c, 0x4a, 2,   0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 't', 'h',
        'e',  ' ',  'j',  'o',  'b', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,   0};
    struct shl_journal journal;
    struct shl_journal_image image;
    uint8_t made[SHL_JOURNAL_HEAD_BYTES], changed[SHL_JOURNAL_HEAD_BYTES];
    (void)state;
    shl_journal_put_head(made, 0x0807060504030201ull, job);
    memcpy(changed, head, sizeof(changed));
    assert_memory_equal(made, head, 4); /* the magic number */
    assert_memory_equal(made + 8, head + 8, 24);
    /* The check of format 2, found by trying: CRC-32C of the first 32 bytes. */
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < SHL_JOURNAL_HEAD_BYTES - 4; i++) {
        crc ^= changed[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0x82f63b78u & (0 - (crc & 1)));
    }
    crc = ~crc;
    memcpy(changed + SHL_JOURNAL_HEAD_BYTES - 4, &crc, 4);
    assert_int_equal(shl_journal_read_image(changed, sizeof(changed), job, &image),
                     SHL_JOURNAL_OTHER);
    save_file(changed, sizeof(changed));
    ASSERT_STATUS(SHOAL_ERR_VERSION, shl_journal_open(&journal, path, job));
}

static void it_does_not_grow_for_ever(void **state)
{
    static uint8_t large[SHL_STORE_VALUE_MAX];
    struct shl_journal journal;
    struct stat info;
    off_t most = 0;
    (void)state;
    open_it(&journal);
    for (uint32_t i = 1; i <= 40; i++) {
        memset(large, (int)i, sizeof(large));
        ASSERT_OK(shl_journal_write(&journal, large, i % 8 ? sizeof(large) : 10));
        assert_int_equal(stat(path, &info), 0);
        most = info.st_size > most ? info.st_size : most;
        if (i % 13 == 0) { /* wherever it stands, it is found again */
            shl_journal_close(&journal);
            open_it(&journal);
            assert_int_equal(journal.version, i);
            assert_int_equal(journal.value[0], i);
        }
    }
    assert_true(most > SHL_JOURNAL_BYTES_MAX && most < 2 * SHL_JOURNAL_BYTES_MAX);
    shl_journal_close(&journal);
}

/* ---- crashes ------------------------------------------------------------------------------- */

enum crash_site { BEFORE_SYNC, AFTER_SYNC, BEFORE_RENAME, AFTER_RENAME, IN_WRITE };

static enum crash_site crash_site;
static size_t crash_after; /* IN_WRITE: bytes until then; else calls */

__attribute__((noreturn)) static void crash(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

static bool crash_now(enum crash_site site)
{
    return crash_site == site && crash_after-- == 0;
}

static ssize_t crashing_write(int fd, const void *data, size_t bytes)
{
    if (crash_site == IN_WRITE && crash_after < bytes) {
        (void)!write(fd, data, crash_after);
        crash();
    }
    if (crash_site == IN_WRITE)
        crash_after -= bytes;
    return write(fd, data, bytes);
}

static int crashing_sync(int fd)
{
    if (crash_now(BEFORE_SYNC))
        crash();
    int result = fsync(fd);
    if (crash_now(AFTER_SYNC))
        crash();
    return result;
}

static int crashing_rename(const char *from, const char *to)
{
    if (crash_now(BEFORE_RENAME))
        crash();
    int result = rename(from, to);
    if (crash_now(AFTER_RENAME))
        crash();
    return result;
}

/* In a child: go on from the journal, and write "third" and "fourth"; each that is durable is told
 * through the pipe. Says whether the crash happened. */
static bool write_and_crash(enum crash_site site, size_t after, uint32_t *acknowledged)
{
    int ends[2], status;
    char told[8];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        static struct shl_sys_fd crashing;
        struct shl_journal journal;
        crashing = shl_fd_kernel;
        crashing.write = crashing_write;
        crashing.sync = crashing_sync;
        crashing.rename = crashing_rename;
        crash_site = site;
        crash_after = after;
        shl_fd = &crashing;
        bool good = shl_journal_open(&journal, path, job) == SHOAL_OK;
        good = good && shl_journal_write(&journal, "third", 5) == SHOAL_OK &&
               write(ends[1], "3", 1) == 1 &&
               shl_journal_write(&journal, "fourth", 6) == SHOAL_OK && write(ends[1], "4", 1) == 1;
        _exit(good ? 0 : 1);
    }
    close(ends[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    ssize_t count = read(ends[0], told, sizeof(told));
    close(ends[0]);
    assert_true(count >= 0);
    *acknowledged = (uint32_t)count;
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

/* Killed at any byte of any write and around each fsync and rename: what was acknowledged is there,
 * and what was not is there whole or not at all. */
static void killed_anywhere_it_keeps_what_it_acknowledged(void **state)
{
    static const char *const values[] = {"second", "third", "fourth"};
    uint8_t data[FILE_MAX];
    uint64_t incarnation;
    uint32_t crashes = 0;
    (void)state;
    size_t bytes = make_sample(data, &incarnation);
    for (int site = BEFORE_SYNC; site <= IN_WRITE; site++)
        for (size_t after = 0;; after++) {
            struct shl_journal journal;
            uint32_t acknowledged;
            save_file(data, bytes);
            bool crashed = write_and_crash((enum crash_site)site, after, &acknowledged);
            open_it(&journal);
            assert_true(journal.restored && journal.incarnation == incarnation);
            if (journal.version < 2 + acknowledged || journal.version > 4)
                fail_msg("site %d after %zu: version %llu, acknowledged %u", site, after,
                         (unsigned long long)journal.version, acknowledged);
            assert_holds(&journal, journal.version, values[journal.version - 2]);
            shl_journal_close(&journal);
            if (!crashed)
                break;
            crashes++;
        }
    assert_true(crashes > 100);
}

/* ---- failures ------------------------------------------------------------------------------ */

static enum shoal_status use_once(void *arg)
{
    struct shl_journal journal;
    (void)arg;
    unlink(path);
    SHL_TRY(shl_journal_open(&journal, path, job));
    enum shoal_status first = shl_journal_write(&journal, "first", 5);
    enum shoal_status second = shl_journal_write(&journal, "second", 6);
    uint64_t version = journal.version, incarnation = journal.incarnation;
    shl_journal_close(&journal);
    assert_int_equal(version, (first == SHOAL_OK) + (second == SHOAL_OK));
    shl_fault_pause();
    ASSERT_OK(shl_journal_open(&journal, path, job));
    assert_true(journal.incarnation == incarnation);
    if (second == SHOAL_OK) /* also when the first failed: the write after it mends the file */
        assert_holds(&journal, version, "second");
    else if (first == SHOAL_OK)
        assert_true(journal.version == 1 || journal.version == 2);
    shl_journal_close(&journal);
    return first < 0 ? first : second;
}

static void whatever_fails_once_the_journal_stays_true(void **state)
{
    (void)state;
    assert_true(shl_fault_sweep(SHL_FAULT_MEM | SHL_FAULT_FD | SHL_FAULT_RANDOM, use_once, NULL,
                                1000) > 15);
}

static void a_full_disk_loses_nothing(void **state)
{
    struct shl_journal journal;
    (void)state;
    open_it(&journal);
    ASSERT_OK(shl_journal_write(&journal, "kept", 4));
    shl_fault_install();
    shl_fault_arm(SHL_FAULT_FD | SHL_FAULT_STICKY, 1);
    for (int i = 0; i < 3; i++)
        assert_true(shl_journal_write(&journal, "lost", 4) < 0);
    shl_fault_pause();
    assert_holds(&journal, 1, "kept");
    shl_fault_remove();
    ASSERT_OK(shl_journal_write(&journal, "room again", 10));
    shl_journal_close(&journal);
    open_it(&journal);
    assert_holds(&journal, 2, "room again");
    shl_journal_close(&journal);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(what_is_written_is_found_again),
        WITH_FOLDER(a_lost_journal_begins_another_incarnation),
        WITH_FOLDER(in_memory_only),
        WITH_FOLDER(every_changed_byte_is_noticed),
        WITH_FOLDER(a_torn_end_does_not_count),
        WITH_FOLDER(a_damaged_journal_is_kept_aside),
        WITH_FOLDER(it_is_refused),
        WITH_FOLDER(another_format_is_refused),
        WITH_FOLDER(it_does_not_grow_for_ever),
        WITH_FOLDER(killed_anywhere_it_keeps_what_it_acknowledged),
        WITH_FOLDER(whatever_fails_once_the_journal_stays_true),
        WITH_FOLDER(a_full_disk_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
