/*
 * The transport contract over a simulated network: many ranks in one thread, adversarial but fair.
 *
 * Chance, from the network's seed, decides whatever the contract leaves open: whether a transfer
 * completes inside the post or in a later poll, how a message is cut into fragments and a sink's
 * data into pieces, in which order pieces come and how they are aligned. Data are read from the
 * sender's memory as late as its bandwidth allows.
 *
 * poll() handles what has arrived by the network's clock and never moves it. Whoever runs the
 * world polls all ranks until nothing happens, then advances the network.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_SIM_TRANSPORT_H
#define SHL_SIM_TRANSPORT_H

#include "transport/sim/sim_network.h"
#include "transport/transport.h"

extern const struct shl_transport_ops shl_transport_sim;

#define SHL_SIM_NODE_OF_RANK UINT32_MAX

/* shl_sim_transport_place - transports opened from now on are attached to this network, at `node`
 * or, with SHL_SIM_NODE_OF_RANK, at the node with their rank's number. NULL: opening fails. */
void shl_sim_transport_place(struct shl_sim_network *network, uint32_t node);

#endif
