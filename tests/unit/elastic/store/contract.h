/*
 * What every store does (elastic/store/store.h), whatever is behind it. The options name a store
 * whose register is empty or not, and clients that are patient.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STORE_CONTRACT_H
#define STORE_CONTRACT_H

#include "elastic/store/store.h"

/* Reads, swaps and conflicts, of one client. */
void store_contract_register(const struct shl_store_options *options);
/* Several clients count in the register: nothing is lost. */
void store_contract_rivals(const struct shl_store_options *options);

#endif
