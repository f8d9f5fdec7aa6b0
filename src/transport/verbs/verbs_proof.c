/*
 * Proofs in the private data of rdma_cm; see verbs_proof.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_proof.h"

#include "control/control.h"
#include "transport/verbs/verbs_link.h"

#include <string.h>

void shl_verbs_proof_fill(const struct shl_verbs_join *join, bool mine,
                          struct shl_verbs_proof *proof)
{
    const struct shl_verbs_link *link = join->link;
    const struct shl_transport_env *env = link->t->env;
    const bool calls = env->rank < link->peer, by_caller = mine == calls;
    struct shl_verbs_greeting peer;
    memcpy(&peer, link->greeting, sizeof(peer));
    *proof = (struct shl_verbs_proof){.magic = SHL_VERBS_MAGIC,
                                      .version = SHL_VERBS_VERSION,
                                      .channel_kind = SHL_CHANNEL_VERBS,
                                      .direct = join->direct,
                                      .index = join->index,
                                      .life = join->life,
                                      .caller = calls ? env->rank : link->peer,
                                      .called = calls ? link->peer : env->rank,
                                      .incarnation = env->incarnation,
                                      .epoch = env->epoch};
    strcpy(proof->role, by_caller ? "rdma_cm caller" : "rdma_cm called");
    memcpy(proof->called_nonce, calls ? peer.nonce : link->nonce, sizeof(proof->called_nonce));
    if (!by_caller)
        memcpy(proof->caller_nonce, calls ? link->nonce : peer.nonce, sizeof(proof->caller_nonce));
}

enum shoal_status shl_verbs_proof_show(const struct shl_verbs_join *join,
                                       struct shl_verbs_call *call)
{
    const struct shl_transport_env *env = join->link->t->env;
    struct shl_verbs_proof proof;
    *call = (struct shl_verbs_call){.magic = SHL_VERBS_MAGIC,
                                    .version = SHL_VERBS_VERSION,
                                    .direct = join->direct,
                                    .index = (uint8_t)join->index,
                                    .rank = env->rank,
                                    .life = join->life};
    shl_verbs_proof_fill(join, true, &proof);
    return shl_control_mac(env->control, &proof, sizeof(proof), call->mac);
}

/* Takes as long whichever byte differs. */
static bool is_equal(const uint8_t *a, const uint8_t *b, size_t bytes)
{
    unsigned differs = 0;
    for (size_t i = 0; i < bytes; i++)
        differs |= (unsigned)(a[i] ^ b[i]);
    return differs == 0;
}

bool shl_verbs_proof_holds(const struct shl_verbs_join *join, const struct shl_verbs_call *call)
{
    struct shl_verbs_proof proof;
    uint8_t mac[SHL_VERBS_MAC_BYTES];
    if (call->magic != SHL_VERBS_MAGIC || call->version != SHL_VERBS_VERSION ||
        call->rank != join->link->peer || call->life != join->life ||
        call->direct != join->direct || call->index != join->index)
        return false;
    shl_verbs_proof_fill(join, false, &proof);
    return shl_control_mac(join->link->t->env->control, &proof, sizeof(proof), mac) == SHOAL_OK &&
           is_equal(mac, call->mac, sizeof(mac));
}
