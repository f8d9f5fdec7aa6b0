/*
 * Keeping a register in a file.
 *
 * Invariant: the file at the path is always whole but for the end of its last record, since it is
 * replaced by renaming one that is complete and on the disk.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/store/journal.h"

#include "core/file.h"
#include "core/log.h"
#include "core/sys.h"
#include "elastic/store/journal_image.h"
#include "elastic/store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define FILE_BYTES_MAX (SHL_JOURNAL_BYTES_MAX + SHL_JOURNAL_RECORD_BYTES + SHL_STORE_VALUE_MAX)

/* ---- files --------------------------------------------------------------------------------- */

static enum shoal_status path_beside(const struct shl_journal *journal, const char *suffix,
                                     char path[PATH_MAX])
{
    if (snprintf(path, PATH_MAX, "%s%s", journal->path, suffix) < PATH_MAX)
        return SHOAL_OK;
    errno = ENAMETOOLONG;
    return shl_fail_errno("journal %.100s...", journal->path);
}

static int write_all(int fd, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    while (bytes) {
        ssize_t wrote = shl_fd->write(fd, at, bytes);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return -1;
        at += wrote;
        bytes -= (size_t)wrote;
    }
    return 0;
}

/* A name in a folder is on the disk once the folder is. */
static enum shoal_status sync_folder(const struct shl_journal *journal)
{
    char folder[PATH_MAX];
    SHL_TRY(path_beside(journal, "", folder));
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = '\0';
    int fd = shl_fd->open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0)
        return shl_fail_errno("open of the folder of journal %s", journal->path);
    enum shoal_status status = SHOAL_OK;
    if (shl_fd->sync(fd))
        status = shl_fail_errno("fsync of the folder of journal %s", journal->path);
    shl_fd->close(fd);
    return status;
}

/* Write head, value and check to the disk. */
static int write_fresh(int fd, const struct shl_journal *journal, uint64_t version,
                       const void *value, size_t size)
{
    uint8_t head[SHL_JOURNAL_HEAD_BYTES], record[SHL_JOURNAL_RECORD_BYTES];
    shl_journal_put_head(head, journal->incarnation, journal->job);
    if (write_all(fd, head, sizeof(head)))
        return -1;
    if (version) {
        shl_journal_put_record(record, version, value, size);
        if (write_all(fd, record, sizeof(record)) || write_all(fd, value, size))
            return -1;
    }
    return shl_fd->sync(fd);
}

/* A new file with nothing but this value in the place of the old one. */
static enum shoal_status rewrite(struct shl_journal *journal, uint64_t version, const void *value,
                                 size_t size)
{
    char fresh[PATH_MAX];
    SHL_TRY(path_beside(journal, ".new", fresh));
    journal->broken = true;
    int fd = shl_fd->open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return shl_fail_errno("cannot make %s", fresh);
    if (write_fresh(fd, journal, version, value, size) || shl_fd->rename(fresh, journal->path)) {
        enum shoal_status status = shl_fail_errno("cannot write journal %s", journal->path);
        shl_fd->close(fd);
        return status;
    }
    if (journal->fd >= 0)
        shl_fd->close(journal->fd);
    journal->fd = fd;
    SHL_TRY(sync_folder(journal));
    journal->file_bytes = SHL_JOURNAL_HEAD_BYTES + (version ? SHL_JOURNAL_RECORD_BYTES + size : 0);
    journal->broken = false;
    return SHOAL_OK;
}

/* ---- opening ------------------------------------------------------------------------------- */

static enum shoal_status lock(struct shl_journal *journal)
{
    char path[PATH_MAX];
    SHL_TRY(path_beside(journal, ".lock", path));
    journal->lock_fd = shl_fd->open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (journal->lock_fd < 0)
        return shl_fail_errno("cannot make %s", path);
    if (shl_fd->lock(journal->lock_fd) == 0)
        return SHOAL_OK;
    if (errno == EWOULDBLOCK)
        return shl_fail(SHOAL_ERR_CONFIG,
                        "journal %s is in use by another coordinator; a job has one",
                        journal->path);
    return shl_fail_errno("cannot lock %s", path);
}

static enum shoal_status begin_anew(struct shl_journal *journal)
{
    while (!journal->incarnation)
        if (shl_random->bytes(&journal->incarnation, sizeof(journal->incarnation)))
            return shl_fail_errno("no random bytes for the incarnation of a register");
    return SHOAL_OK;
}

static enum shoal_status put_aside(struct shl_journal *journal)
{
    char aside[PATH_MAX];
    SHL_TRY(path_beside(journal, ".damaged", aside));
    shl_log(SHL_LOG_WARN,
            "journal %s is damaged; it is kept as %s and the register begins anew: members of the "
            "job will have to join again",
            journal->path, aside);
    if (shl_fd->rename(journal->path, aside))
        return shl_fail_errno("cannot rename %s to %s", journal->path, aside);
    return SHOAL_OK;
}

static enum shoal_status take_image(struct shl_journal *journal, const uint8_t *data, size_t bytes)
{
    struct shl_journal_image image;
    enum shl_journal_state state = shl_journal_read_image(data, bytes, journal->job, &image);
    switch (state) {
    case SHL_JOURNAL_FOREIGN:
        return shl_fail(SHOAL_ERR_CONFIG, "journal %s is of another job; name another file",
                        journal->path);
    case SHL_JOURNAL_OTHER:
        return shl_fail(SHOAL_ERR_VERSION, "journal %s was written by another version of Shoal",
                        journal->path);
    case SHL_JOURNAL_NONE:
        return shl_fail(SHOAL_ERR_CONFIG, "%s is no journal; name another file, or remove it",
                        journal->path);
    case SHL_JOURNAL_DAMAGED:
        return put_aside(journal);
    case SHL_JOURNAL_TORN:
    case SHL_JOURNAL_WHOLE:
        break;
    }
    if (state == SHL_JOURNAL_TORN)
        shl_log(SHL_LOG_INFO, "the last write of journal %s was cut short and does not count",
                journal->path);
    journal->restored = true;
    journal->incarnation = image.incarnation;
    journal->version = image.version;
    journal->size = image.size;
    if (image.size)
        memcpy(journal->value, image.value, image.size);
    return SHOAL_OK;
}

static enum shoal_status load(struct shl_journal *journal)
{
    size_t bytes = 0;
    uint8_t *data = shl_mem->alloc(FILE_BYTES_MAX);
    if (!data)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory to read journal %s", journal->path);
    enum shoal_status status = shl_file_read(journal->path, data, FILE_BYTES_MAX, &bytes);
    if (status < 0 && errno == EFBIG)
        status = shl_fail(SHOAL_ERR_CONFIG, "%s is larger than any journal; name another file",
                          journal->path);
    else if (status < 0 && errno == ENOENT)
        status = SHOAL_OK;
    if (status == SHOAL_OK && bytes)
        status = take_image(journal, data, bytes);
    shl_mem->free(data);
    return status;
}

enum shoal_status shl_journal_open(struct shl_journal *journal, const char *path,
                                   const uint8_t job[16])
{
    enum shoal_status status = SHOAL_OK;
    memset(journal, 0, sizeof(*journal));
    journal->fd = journal->lock_fd = -1;
    memcpy(journal->job, job, sizeof(journal->job));
    size_t path_bytes = path ? strlen(path) + 1 : 0;
    journal->value = shl_mem->alloc(SHL_STORE_VALUE_MAX);
    journal->path = path ? shl_mem->alloc(path_bytes) : NULL;
    if (!journal->value || (path && !journal->path)) {
        status = shl_fail(SHOAL_ERR_NOMEM, "no memory for a register");
    } else if (path) {
        memcpy(journal->path, path, path_bytes);
        status = lock(journal);
        if (status == SHOAL_OK)
            status = load(journal);
    }
    if (status == SHOAL_OK)
        status = begin_anew(journal);
    if (status == SHOAL_OK && path)
        status = rewrite(journal, journal->version, journal->value, journal->size);
    if (status < 0)
        shl_journal_close(journal);
    return status;
}

void shl_journal_close(struct shl_journal *journal)
{
    if (journal->fd >= 0)
        shl_fd->close(journal->fd);
    if (journal->lock_fd >= 0)
        shl_fd->close(journal->lock_fd);
    shl_mem->free(journal->path);
    shl_mem->free(journal->value);
    memset(journal, 0, sizeof(*journal));
    journal->fd = journal->lock_fd = -1;
}

/* ---- writing ------------------------------------------------------------------------------- */

static enum shoal_status append(struct shl_journal *journal, uint64_t version, const void *value,
                                size_t size)
{
    uint8_t record[SHL_JOURNAL_RECORD_BYTES];
    shl_journal_put_record(record, version, value, size);
    journal->broken = true;
    if (write_all(journal->fd, record, sizeof(record)) || write_all(journal->fd, value, size) ||
        shl_fd->sync(journal->fd))
        return shl_fail_errno("cannot write journal %s", journal->path);
    journal->file_bytes += sizeof(record) + size;
    journal->broken = false;
    return SHOAL_OK;
}

enum shoal_status shl_journal_write(struct shl_journal *journal, const void *value, size_t size)
{
    uint64_t version = journal->version + 1;
    SHL_ASSERT(size <= SHL_STORE_VALUE_MAX);
    if (journal->path && (journal->broken || journal->file_bytes > SHL_JOURNAL_BYTES_MAX))
        SHL_TRY(rewrite(journal, version, value, size));
    else if (journal->path)
        SHL_TRY(append(journal, version, value, size));
    journal->version = version;
    journal->size = size;
    if (size)
        memcpy(journal->value, value, size);
    return SHOAL_OK;
}
