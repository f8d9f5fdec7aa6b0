/*
 * The verbs transport of a build without libibverbs, beside the one of this build.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define shl_transport_verbs shl_transport_absent
#define shl_verbs_ports_find absent_ports_find
#define shl_verbs_gids_find absent_gids_find
#define shl_verbs_probe_run absent_probe_run
#define shl_verbs_none_string absent_none_string
#define shl_verbs_kind_string absent_kind_string
#define shl_verbs_connect_string absent_connect_string
#include "transport/verbs/verbs_absent.c"
