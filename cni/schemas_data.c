/*
 * The file schemas/schemas.json, embedded as it is.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "schemas_data.h"

__asm__(".section .rodata\n"
        ".global cni_schemas_json\n"
        ".global cni_schemas_json_end\n"
        "cni_schemas_json:\n"
        ".incbin \"" CNI_SCHEMAS_FILE "\"\n"
        "cni_schemas_json_end:\n"
        ".byte 0\n"
        ".previous\n");
