/*
 * Status texts and the calling thread's error detail.
 *
 * Invariant: the detail is always one printable line, whatever bytes a peer or a user put into the
 * values that it quotes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DETAIL_BYTES 1024

static _Thread_local char detail[DETAIL_BYTES];

const char *shoal_status_string(int status)
{
    switch (status) {
    case SHOAL_OK:
        return "ok";
    case SHOAL_IN_PROGRESS:
        return "in progress";
    case SHOAL_ERR_INVALID:
        return "invalid argument";
    case SHOAL_ERR_UNSUPPORTED:
        return "not supported by this build or machine";
    case SHOAL_ERR_BUSY:
        return "object is in use";
    case SHOAL_ERR_FORKED:
        return "called in a forked child";
    case SHOAL_ERR_CONFIG:
        return "bad configuration";
    case SHOAL_ERR_MISMATCH:
        return "ranks disagree on the operation";
    case SHOAL_ERR_TIMEOUT:
        return "deadline passed";
    case SHOAL_ERR_ABORTED:
        return "operation aborted";
    case SHOAL_ERR_PEER:
        return "peer lost";
    case SHOAL_ERR_AUTH:
        return "peer not authenticated";
    case SHOAL_ERR_VERSION:
        return "peer speaks another version";
    case SHOAL_ERR_ABSENT:
        return "ranks did not arrive";
    case SHOAL_ERR_EPOCH:
        return "membership changed";
    case SHOAL_ERR_STORE:
        return "store not reachable";
    case SHOAL_ERR_STEP_RETRY:
        return "step begins again";
    case SHOAL_ERR_STATE_LOST:
        return "all copies of a part of the state are gone";
    case SHOAL_ERR_NOMEM:
        return "out of memory";
    case SHOAL_ERR_SYSTEM:
        return "system call failed";
    case SHOAL_ERR_INTERNAL:
        return "internal error";
    default:
        return "unknown status";
    }
}

/* Values quoted in a detail may come from a peer: no line breaks or terminal escapes get through.
 */
static void set_line(const char *text)
{
    size_t at = 0;
    for (; text[at] && at < DETAIL_BYTES - 1; at++) {
        unsigned char c = (unsigned char)text[at];
        detail[at] = (char)(c < 0x20 || c == 0x7f ? ' ' : c);
    }
    detail[at] = 0;
}

enum shoal_status shl_fail(enum shoal_status status, const char *format, ...)
{
    int saved = errno;
    char line[DETAIL_BYTES]; /* the arguments may point into the old detail */
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    set_line(line);
    errno = saved;
    return status;
}

enum shoal_status shl_fail_errno(const char *format, ...)
{
    int saved = errno;
    char line[DETAIL_BYTES];
    char text[128];
    va_list args;
    va_start(args, format);
    int used = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    const char *reason = strerror_r(saved, text, sizeof(text)); /* the GNU form returns the text */
    if (used >= 0 && (size_t)used < sizeof(line))
        snprintf(line + used, sizeof(line) - (size_t)used, ": %s (errno %d)", reason, saved);
    set_line(line);
    errno = saved;
    return saved == ENOMEM ? SHOAL_ERR_NOMEM : SHOAL_ERR_SYSTEM;
}

void shl_error_set(const char *text)
{
    if (text != detail)
        set_line(text ? text : "");
}

const char *shl_error_text(void)
{
    return detail;
}

const char *shoal_last_error(void)
{
    return detail;
}

#ifndef NDEBUG
void shl_assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "shoal: assertion failed at %s:%d: %s; this is a bug in shoal\n", file, line,
            condition);
    abort();
}
#endif
