/*
 * Looking for the way to a peer before queue pairs are connected.
 *
 * To connect a queue pair of RoCE the kernel needs the peer's link-layer address. Where it does not
 * know it, whoever asks is held until the peer has answered, or for a second if it does not. So a
 * pair that nobody uses is connected first, in a thread of its own, while frames go another way.
 * When that is done the address is known, and connecting the pairs that are used holds nobody.
 * Devices that are connected otherwise need none of this, and their ways count as found.
 *
 * Invariant: the thread touches quests and what they name of the device, never a link; so a link
 * may end while its quest is under way.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_VERBS_SEEK_H
#define SHL_TRANSPORT_VERBS_SEEK_H

#include <stdbool.h>

struct shl_transport;
struct shl_verbs_link;
struct shl_verbs_quest;
struct shl_verbs_seeker;

/* Look for ways by all rails whose ports are up, anew if that is under way; what is found is used
 * by shl_verbs_move_found, now or from shl_verbs_sought. */
void shl_verbs_seek(struct shl_verbs_link *link);
/* Is the quest of the link over? Then use what it found; returns how much was done. */
unsigned shl_verbs_sought(struct shl_verbs_link *link);
/* What it may still find does not matter. */
void shl_verbs_seek_end(struct shl_verbs_link *link);
/* Take the sign that some quest is over. */
void shl_verbs_seek_hear(struct shl_transport *t);
/* End the thread, when no link has a quest. It waits for the kernel to answer, a second at most. */
void shl_verbs_seek_close(struct shl_transport *t);

#endif
