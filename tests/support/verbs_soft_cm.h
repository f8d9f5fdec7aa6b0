/*
 * An rdma_cm that exists only in this process, beside the devices of verbs_soft.h: a table of
 * functions in place of librdmacm's. It serves the first device, at 127.0.0.1.
 *
 * Threads  any; one mutex
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SUPPORT_VERBS_SOFT_CM_H
#define SUPPORT_VERBS_SOFT_CM_H

/* What goes wrong from now on, with each call. */
enum verbs_soft_cm_fault {
    VERBS_SOFT_CM_WELL,
    VERBS_SOFT_CM_UNRESOLVED,   /* the address is not found */
    VERBS_SOFT_CM_REFUSED,      /* nobody listens */
    VERBS_SOFT_CM_SILENT,       /* nobody answers */
    VERBS_SOFT_CM_WRONG_CALL,   /* the caller shows another nonce */
    VERBS_SOFT_CM_WRONG_ANSWER, /* who answers does */
    VERBS_SOFT_CM_OTHER_CALL,   /* another queue pair calls */
    VERBS_SOFT_CM_OTHER_ANSWER, /* another answers */
    VERBS_SOFT_CM_GONE          /* who is called vanishes instead of answering */
};

void verbs_soft_cm_install(void);
void verbs_soft_cm_fail(enum verbs_soft_cm_fault fault);

/* Ids and channels made and not destroyed. */
unsigned verbs_soft_cm_objects(void);

#endif
