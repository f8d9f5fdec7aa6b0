/*
 * Decorators: they wrap any transport's operations and look like a transport themselves.
 *
 *     const struct shl_transport_ops *ops;
 *     SHL_TRY(shl_hook_trace_wrap(&shl_transport_tcp, &ops));
 *
 * Wrapping the same operations again gives the same decorator. They stack in any order. A caller
 * that needs the transport below (transport/group.h) asks shl_hook_inner.
 *
 * Threads: wrapping happens before transports are opened, in one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_HOOK_H
#define SHL_HOOK_H

#include "transport/transport.h"

#define SHL_HOOK_WRAPS_MAX 4 /* different transports that one kind of decorator can wrap */

/* shl_hook_inner - the transport under all decorators; `t` itself when there is none. */
struct shl_transport *shl_hook_inner(const struct shl_transport_ops *ops, struct shl_transport *t);

/* ---- trace ---------------------------------------------------------------------------------- */

#define SHL_HOOK_TRACE_RECORDS 1024 /* kept for each transport, the last ones */

enum shl_hook_event {
    SHL_HOOK_SEND,
    SHL_HOOK_RECV,
    SHL_HOOK_SENT,
    SHL_HOOK_RECEIVED,
    SHL_HOOK_SEEN,
    SHL_HOOK_LOST,
    SHL_HOOK_CANCEL,
    SHL_HOOK_DROP,
    SHL_HOOK_EVENT_COUNT
};

struct shl_hook_record {
    uint64_t time_ns;
    enum shl_hook_event event;
    enum shoal_status status; /* of a post, a completion, or a loss */
    uint32_t peer;
    struct shl_tag tag;
    uint64_t bytes;
};

enum shoal_status shl_hook_trace_wrap(const struct shl_transport_ops *inner,
                                      const struct shl_transport_ops **ops);

/* For a transport opened through the decorator. Events ever recorded, and the one with number
 * `index` of those, if it is still kept. */
uint64_t shl_hook_trace_count(const struct shl_transport *t);
bool shl_hook_trace_at(const struct shl_transport *t, uint64_t index,
                       struct shl_hook_record *record);

/* shl_hook_trace_print - one line of text for each event that is kept, oldest first. */
void shl_hook_trace_print(const struct shl_transport *t, void (*line)(void *arg, const char *text),
                          void *arg);

/* ---- faults --------------------------------------------------------------------------------- */

#define SHL_HOOK_FAULTS_MAX 16
#define SHL_HOOK_ANY UINT32_MAX

enum shl_hook_call { SHL_HOOK_ON_SEND, SHL_HOOK_ON_RECV, SHL_HOOK_ON_POLL, SHL_HOOK_CALL_COUNT };

enum shl_hook_action {
    SHL_HOOK_FAIL,      /* a send or receive returns `status`, nothing is posted */
    SHL_HOOK_DELAY,     /* it happens `delay_ns` later; poll: nothing moves for that long */
    SHL_HOOK_DROP_PEER, /* the connection to `peer` breaks, as the next poll finds: lost() */
    SHL_HOOK_KILL,      /* SIGKILL to this process, before the call has any effect */
    SHL_HOOK_STOP,      /* SIGSTOP to this process, likewise */
    SHL_HOOK_ACTION_COUNT
};

/* On the k-th `call` (1 is the first) of a transport, do `action`. */
struct shl_hook_fault {
    uint32_t rank;      /* of the transport; SHL_HOOK_ANY */
    char transport[16]; /* name of the one below; "": any */
    enum shl_hook_call call;
    uint64_t k;
    enum shl_hook_action action;
    enum shoal_status status;
    uint64_t delay_ns;
    uint32_t peer; /* SHL_HOOK_ANY: the transfer's; poll must name one */
};

/* shl_hook_fault_wrap - the faults replace those of an earlier wrap of the same operations. They
 * take effect for transports opened later. */
enum shoal_status shl_hook_fault_wrap(const struct shl_transport_ops *inner,
                                      const struct shl_hook_fault *faults, size_t count,
                                      const struct shl_transport_ops **ops);

/*
 * shl_hook_fault_parse - faults from text, which tests hand over as SHOAL_TEST_FAULT:
 *
 *     rank=1,transport=tcp,on=send,k=3,do=kill
 *     on=recv,k=1,do=fail,status=-81; rank=0,on=poll,k=9,do=drop,peer=2; on=poll,k=1,do=delay,ms=50
 *
 * `on` and `do` must be there; k is 1 and status SHOAL_ERR_SYSTEM unless given.
 */
enum shoal_status shl_hook_fault_parse(const char *text, struct shl_hook_fault *faults,
                                       size_t capacity, size_t *count);

/* shl_hook_fault_wrap_text - parse and wrap; *ops is `inner` itself when the text is empty. */
enum shoal_status shl_hook_fault_wrap_text(const struct shl_transport_ops *inner, const char *text,
                                           const struct shl_transport_ops **ops);

/* Faults that have struck in this process. Tests stop a sweep over k when a run adds none. */
uint64_t shl_hook_fault_count(void);

#endif
