/*
 * Shoal: collective communication for jobs that gain and lose workers. This header includes the
 * whole C ABI.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHOAL_SHOAL_H
#define SHOAL_SHOAL_H

#include <shoal/collectives.h>
#include <shoal/comm.h>
#include <shoal/elastic.h>
#include <shoal/placement.h>
#include <shoal/reshard.h>
#include <shoal/samples.h>
#include <shoal/state.h>
#include <shoal/status.h>
#include <shoal/store.h>
#include <shoal/types.h>
#include <shoal/version.h>

#endif
