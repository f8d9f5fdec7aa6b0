/*
 * Whole small files, such as those of /proc and /sys.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CORE_FILE_H
#define SHL_CORE_FILE_H

#include "core/status.h"

#include <stddef.h>

/*
 * shl_file_read - up to capacity bytes of a file; *bytes says how many. No terminating zero.
 * Never waits for the writer of a pipe. Errors keep errno; a file that does not fit is
 * EFBIG.
 */
enum shoal_status shl_file_read(const char *path, void *content, size_t capacity, size_t *bytes);

/* shl_file_read_line - the first line as a string without its newline. EFBIG when it does not fit.
 */
enum shoal_status shl_file_read_line(const char *path, char *line, size_t capacity);

#endif
