/*
 * Log lines for people, on stderr or in SHOAL_LOG_FILE, never on stdout and never on the data path.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CORE_LOG_H
#define SHL_CORE_LOG_H

#include "core/status.h"

#include <stdbool.h>
#include <stdint.h>

enum shl_log_level { SHL_LOG_OFF, SHL_LOG_ERROR, SHL_LOG_WARN, SHL_LOG_INFO, SHL_LOG_DEBUG };

/* shl_log - one line: "shoal WARN rank 3: text". Lowercase text, exact cause, no guess. */
void shl_log(enum shl_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3), cold));
bool shl_log_enabled(enum shl_log_level level);

/* shl_log_configure - level, and path of the file to append to (NULL or "": stderr), for the whole
 * process. When the file cannot be opened nothing changes. The file stays open until exit, because
 * another thread may be writing a line. */
enum shoal_status shl_log_configure(enum shl_log_level level, const char *path);
void shl_log_set_rank(uint32_t rank); /* prefix of later lines; process-wide, for humans only */

#endif
