/*
 * Looking for the way to a peer before queue pairs are connected.
 *
 * To connect a queue pair of RoCE the kernel needs the peer's link-layer address. Where it does not
 * know it, whoever asks is held until the peer has answered, or for a second if it does not. So a
 * pair that nobody uses is connected first, in a thread of its own, while frames go another way.
 * When that is done the address is known, and connecting the pairs that are used holds nobody.
 * There are a few threads a rail. So a network that does not answer delays no other rail, and each
 * rail is used as soon as its way is found; but as many peers as there are threads that do not
 * answer, such as the ranks of a host that is dead, hold all of a rail for a second at a time, and
 * other peers wait for it that long.
 * Devices that are connected otherwise need none of this, and their ways count as found.
 *
 * Invariant: the threads touch quests and what they name of the device, never a link; so a link may
 * end while its quest is under way.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_VERBS_SEEK_H
#define SHL_TRANSPORT_VERBS_SEEK_H

#include <stdbool.h>
#include <stdint.h>

struct shl_transport;
struct shl_verbs_link;
struct shl_verbs_quest;
struct shl_verbs_seeker;

/* Look for ways by these rails, as bits, as far as their ports are up; those of a quest that is
 * under way are looked for anew. What is found is used by shl_verbs_move_found, now or from
 * shl_verbs_sought. */
void shl_verbs_seek(struct shl_verbs_link *link, uint32_t rails);
/* Use what the quest of the link has found since; returns how much was done. */
unsigned shl_verbs_sought(struct shl_verbs_link *link);
/* Is there something for that to do? */
bool shl_verbs_sought_any(const struct shl_verbs_link *link);
/* What it may still find does not matter. Returns the rails of which nothing was heard. */
uint32_t shl_verbs_seek_end(struct shl_verbs_link *link);
/* Take the sign that quests have found something, or are over; returns how often it was given. */
unsigned shl_verbs_seek_hear(struct shl_transport *t);
/* End the threads, when no link has a quest. Begins nothing more; where the kernel is at it, waits
 * for its answer, a second at most. */
void shl_verbs_seek_close(struct shl_transport *t);

#endif
