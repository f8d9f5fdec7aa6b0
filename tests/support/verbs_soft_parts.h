/*
 * What the files of the stand-in for libibverbs share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SUPPORT_VERBS_SOFT_PARTS_H
#define SUPPORT_VERBS_SOFT_PARTS_H

#include "support/verbs_soft.h"

#include "transport/verbs/verbs_sys.h"

#include <pthread.h>

extern pthread_mutex_t verbs_soft_lock;

/* Ends the test unless `holds`. */
void verbs_soft_must(bool holds, const char *what);
/* Objects that are counted; unmake returns 0. */
void *verbs_soft_make(size_t bytes);
int verbs_soft_unmake(void *object);

/* Under the lock: may the memory be used so by that key? And a completion for a queue. */
bool verbs_soft_covers(const struct ibv_pd *pd, uint32_t key, uint64_t address, uint64_t bytes,
                       int access);
void verbs_soft_complete(struct ibv_cq *cq, const struct ibv_wc *completion);

/* verbs_soft_pair.c: as libibverbs has them. */
struct ibv_qp *verbs_soft_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr);
int verbs_soft_modify_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask);
int verbs_soft_destroy_qp(struct ibv_qp *qp);
int verbs_soft_post_send(struct ibv_qp *qp, struct ibv_send_wr *chain, struct ibv_send_wr **bad);
int verbs_soft_post_recv(struct ibv_qp *qp, struct ibv_recv_wr *chain, struct ibv_recv_wr **bad);

#endif
