/*
 * Logs of members, and the decision about what they report.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit/elastic/views/logs.h"

#include "core/sys.h"
#include "support/test.h"

struct shl_oplog *logs_member(enum shl_step_mode mode, uint64_t from)
{
    struct shl_decision decision = {.started = from, .settled = from};
    struct shl_oplog *log = shl_mem->alloc(sizeof(*log));
    assert_non_null(log);
    shl_oplog_enter(log, mode, &decision);
    return log;
}

struct shl_op *logs_begin(struct shl_oplog *log, bool is_commit)
{
    struct shl_op *op;
    ASSERT_OK(shl_oplog_begin(log, is_commit, &op));
    op->is_commit = is_commit;
    return op;
}

struct shl_op *logs_keep(struct shl_oplog *log)
{
    struct shl_op *op = logs_begin(log, false);
    op->kept = true;
    shl_oplog_held(log, op, false);
    shl_oplog_unpin(log);
    return op;
}

struct shl_members logs_everybody;

void logs_decide(struct shl_oplog **logs, uint32_t count, bool shrinks,
                 struct shl_decision *decision)
{
    static struct shl_report reports[4];
    for (uint32_t i = 0; i < count; i++) {
        shl_oplog_report(logs[i], &logs_everybody, &reports[i]);
        assert_true(shl_report_valid(&reports[i]));
    }
    struct shl_outcome_input input = {
        .mode = logs[0]->mode, .count = count, .reports = reports, .shrinks = shrinks};
    shl_outcome_decide(&input, decision);
    for (uint32_t i = 0; i < count; i++)
        ASSERT_OK(shl_oplog_follow(logs[i], decision));
}

void logs_close(struct shl_oplog **logs, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        shl_oplog_free(logs[i]);
}

struct shl_op *logs_begin_with_root(struct shl_oplog *log, uint64_t root)
{
    struct shl_op *op = logs_begin(log, false);
    op->root_id = root;
    return op;
}
