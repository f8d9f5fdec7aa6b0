/*
 * A trap in the control channel: whichever member first comes to the k-th message of one kind in a
 * change of the view dies there, just before it sends it, just after, or before it acts on it.
 *
 * It lies in the table of sockets (control/sock.h), which the processes of a test inherit, and
 * knows the messages by the library's own decoders. Other processes and other bytes pass through.
 *
 * Invariant: each trap that is laid kills one process, at most.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_MULTIPROC_TRAP_H
#define TESTS_MULTIPROC_TRAP_H

#include <stdint.h>
#include <sys/types.h>

/* In the order of a change. SWAP and ANSWER are between the driver and the store. */
enum trap_message {
    TRAP_REACH,          /* whom the sender does not reach */
    TRAP_PREPARE_SWAP,   /* PREPARED, to the register */
    TRAP_PREPARE_ANSWER, /* that it is written */
    TRAP_PREPARE,        /* PREPARED, from its writer to the members */
    TRAP_ACK,            /* what a member came to, behind its fence */
    TRAP_COMMIT_SWAP,    /* what was decided, to the register */
    TRAP_COMMIT_ANSWER,  /* that it is written */
    TRAP_COMMIT,         /* COMMITTED, from its writer to the members */
    TRAP_ADDRESSES,      /* where the sender listens in the new view */
    TRAP_MESSAGES
};

enum trap_moment { TRAP_BEFORE_SENDING, TRAP_AFTER_SENDING, TRAP_ON_RECEIPT };

struct trap {
    enum trap_message message;
    enum trap_moment moment;
    uint32_t k; /* of those that one process sends or receives, from 1 */
};

const char *trap_text(const struct trap *trap);

/* Once, before any process of the job is started. */
void trap_install(void);
/* Before each job's first member: its views are numbered from 1 on. */
void trap_begin(void);
/* A member: from here on traps are for this process, too. */
void trap_enter(void);
/* From here on, until it caught somebody. */
void trap_lay(const struct trap *trap);
/* Who was caught; 0: nobody yet. */
pid_t trap_caught(void);

#endif
