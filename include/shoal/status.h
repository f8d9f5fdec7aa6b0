/*
 * Status codes of every Shoal call, grouped by the largest thing the error breaks.
 *
 * Negative is an error, zero is success, positive is "not finished yet". A caller that does not
 * know a code can still act on its group: fix the call, drop the request, drop the peer, wait for
 * the next epoch, or give up on the process.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHOAL_STATUS_H
#define SHOAL_STATUS_H

#include <shoal/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum shoal_status {
    SHOAL_OK = 0,
    SHOAL_IN_PROGRESS = 1,

    /* The call: fix the arguments and call again; nothing was started. */
    SHOAL_ERR_INVALID = -1,     /* a bad argument; the detail names it */
    SHOAL_ERR_UNSUPPORTED = -2, /* legal, but this build or machine cannot do it */
    SHOAL_ERR_BUSY = -3,        /* the object is in use */
    SHOAL_ERR_FORKED = -4,      /* called in a child made by fork(); create objects after fork */
    SHOAL_ERR_CONFIG = -5,      /* an unknown or bad setting; the detail names the nearest key */

    /* The request: this operation failed on every rank alike; the communicator is usable. */
    SHOAL_ERR_MISMATCH = -20, /* ranks disagree on operation, count, dtype, op, root or order */
    SHOAL_ERR_TIMEOUT = -21,  /* the deadline passed; the detail names who is missing */
    SHOAL_ERR_ABORTED = -22,  /* a rank aborted the operation */

    /* The peer: a rank is lost; the communicator only accepts destroy. */
    SHOAL_ERR_PEER = -40,    /* a rank died, stopped or cannot be reached */
    SHOAL_ERR_AUTH = -41,    /* a peer did not prove knowledge of the job secret */
    SHOAL_ERR_VERSION = -42, /* a peer speaks another protocol version */
    SHOAL_ERR_ABSENT = -43,  /* ranks did not arrive at the rendezvous in time */

    /* The epoch: membership changed. */
    SHOAL_ERR_EPOCH = -60,      /* this member is out, or a view that an operation needs is gone */
    SHOAL_ERR_STORE = -61,      /* the store could not be reached in time, or was lost */
    SHOAL_ERR_STEP_RETRY = -62, /* the step counts nowhere; begin it again */
    SHOAL_ERR_STATE_LOST = -63, /* all copies of a part of the state are gone; the world goes on */

    /* The process: resources or our own fault. */
    SHOAL_ERR_NOMEM = -80,
    SHOAL_ERR_SYSTEM = -81, /* a system call failed; the detail has its name and errno */
    SHOAL_ERR_INTERNAL = -82
};

/*
 * shoal_status_string - a short constant text for a status code, never NULL.
 * Threads  any
 */
SHOAL_API const char *shoal_status_string(int status);

/*
 * shoal_last_error - the detail of the calling thread's last failed call: one line that names
 * rank, peer, step, value or errno, and what to do. Empty when there was none.
 * Owns     the library; valid until the thread's next Shoal call
 * Threads  any; each thread sees its own
 */
SHOAL_API const char *shoal_last_error(void);

#ifdef __cplusplus
}
#endif
#endif
