/*
 * What all ranks conclude from the statements about one operation.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ENGINE_VERDICT_H
#define SHL_ENGINE_VERDICT_H

#include "core/status.h"
#include "transport/transport.h"

#define SHL_REASON_BYTES 160

/* What one rank says about an operation that is being given up. */
struct shl_statement {
    bool present;
    bool called; /* it had called the operation, with this signature */
    bool done;   /* and finished it: its caller was told OK */
    struct shl_signature signature;
    enum shoal_status raised; /* SHOAL_OK: it only heard of it */
    bool lost;                /* nobody will hear from it */
    bool left;                /* lost, but only because it destroyed the communicator in time */
};

/*
 * shl_verdict - a pure function of the statements, so that every rank comes to the same status and
 * the same text.
 *
 * reason  of the lowest rank that raised something; for lost ranks, the cause. Ranks that left are
 *         named only where none is lost otherwise: they left because of those.
 */
enum shoal_status shl_verdict(uint64_t seq, const struct shl_statement *statements, uint32_t count,
                              const char *reason, char *text, size_t text_bytes);

/* Somebody has the result: the verdict is not what all callers are told. */
bool shl_verdict_is_uneven(const struct shl_statement *statements, uint32_t count);

#endif
