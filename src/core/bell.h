/*
 * Ringing an eventfd that another thread or process sleeps on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CORE_BELL_H
#define SHL_CORE_BELL_H

/*
 * shl_bell_ring - make the eventfd readable. Tries again when a write fails: a ring that is lost
 * leaves somebody asleep, perhaps for ever. A full counter is a bell that rings already.
 * Threads  any
 */
void shl_bell_ring(int fd);

#endif
