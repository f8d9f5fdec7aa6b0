/*
 * Logs of several members. Their reports go through the decision that production makes of them, so
 * that both sides are known to fit together.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_UNIT_ELASTIC_VIEWS_LOGS_H
#define TESTS_UNIT_ELASTIC_VIEWS_LOGS_H

#include "elastic/views/oplog.h"

extern struct shl_members logs_everybody; /* of the next view, that are roots */

/* A log in which `from` operations are over. */
struct shl_oplog *logs_member(enum shl_step_mode mode, uint64_t from);
struct shl_op *logs_begin(struct shl_oplog *log, bool is_commit);
struct shl_op *logs_begin_with_root(struct shl_oplog *log, uint64_t root);
/* A small sum outside of steps, returned with a copy kept. */
struct shl_op *logs_keep(struct shl_oplog *log);
/* What all report is decided, and followed by all. `shrinks`: somebody was lost. */
void logs_decide(struct shl_oplog **logs, uint32_t count, bool shrinks,
                 struct shl_decision *decision);
void logs_close(struct shl_oplog **logs, uint32_t count);

#endif
