/*
 * The register of a coordinator, and the file that it survives in.
 *
 * Invariant: when shl_journal_write has returned OK the value is on the disk and will be found
 * again; when it failed the value here is the old one, and the new one may or may not be found.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_STORE_JOURNAL_H
#define SHL_ELASTIC_STORE_JOURNAL_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Appended to until it is larger; then rewritten with the newest value alone. */
#define SHL_JOURNAL_BYTES_MAX (1024u * 1024u)

struct shl_journal {
    char *path; /* NULL: in memory only */
    uint8_t job[16];
    uint64_t incarnation;
    uint64_t version;
    uint8_t *value; /* room for SHL_STORE_VALUE_MAX */
    size_t size;
    int fd, lock_fd;
    size_t file_bytes;
    bool broken;   /* what the file ends with is not known: the next write makes a new one */
    bool restored; /* there was a journal, and it was whole */
};

/*
 * shl_journal_open - the register of a job. Without a file, or with one that lost something (which
 * is kept as FILE.damaged), it is empty and has a new random incarnation.
 *
 * path    NULL: a register in memory that dies with this process
 * Errors  SHOAL_ERR_CONFIG: another coordinator has it, it is of another job or no journal;
 *         SHOAL_ERR_VERSION; SHOAL_ERR_SYSTEM: it cannot be read or written
 */
enum shoal_status shl_journal_open(struct shl_journal *journal, const char *path,
                                   const uint8_t job[16]);
/* The next version of the register. At most SHL_STORE_VALUE_MAX bytes. */
enum shoal_status shl_journal_write(struct shl_journal *journal, const void *value, size_t size);
void shl_journal_close(struct shl_journal *journal);

#endif
