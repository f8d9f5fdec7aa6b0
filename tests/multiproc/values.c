/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/values.h"

#include <stdbool.h>
#include <string.h>

/* Encodings of 0, 1, 2, 3, ... 8 where they are not the machine's own. */
static const uint16_t f16_codes[] = {0,      0x3c00, 0x4000, 0x4200, 0x4400,
                                     0x4500, 0x4600, 0x4700, 0x4800};
static const uint8_t e4m3_codes[] = {0, 0x38, 0x40, 0x44, 0x48, 0x4a, 0x4c, 0x4e, 0x50};
static const uint8_t e5m2_codes[] = {0, 0x3c, 0x40, 0x42, 0x44, 0x45, 0x46, 0x47, 0x48};

void value_put(enum shoal_dtype dtype, void *data, size_t at, unsigned value)
{
    float as_float = (float)value;
    uint32_t bits;
    memcpy(&bits, &as_float, sizeof(bits));
    switch (dtype) {
    case SHOAL_I8:
    case SHOAL_U8:
        ((uint8_t *)data)[at] = (uint8_t)value;
        break;
    case SHOAL_I32:
    case SHOAL_U32:
        ((uint32_t *)data)[at] = value;
        break;
    case SHOAL_I64:
    case SHOAL_U64:
        ((uint64_t *)data)[at] = value;
        break;
    case SHOAL_F16:
        ((uint16_t *)data)[at] = f16_codes[value];
        break;
    case SHOAL_BF16:
        ((uint16_t *)data)[at] = (uint16_t)(bits >> 16);
        break;
    case SHOAL_F32:
        ((float *)data)[at] = as_float;
        break;
    case SHOAL_F64:
        ((double *)data)[at] = value;
        break;
    case SHOAL_F8E4M3:
        ((uint8_t *)data)[at] = e4m3_codes[value];
        break;
    default:
        ((uint8_t *)data)[at] = e5m2_codes[value];
        break;
    }
}

unsigned value_operand(uint32_t rank, uint32_t size, size_t at, uint32_t op)
{
    bool big = (at / 3 + at / 64) % size == rank;
    switch (op) {
    case SHOAL_SUM:
        return big ? 1 + at % 2 * 2 : 0;
    case SHOAL_PROD:
        return big ? 1 + at % 3 : 1;
    case SHOAL_AVG:
        return at % 3; /* sums of these are exact in fp8, too */
    default:
        return big ? at % 2 * 4 : 1 + at % 2;
    }
}

unsigned value_reduced(uint32_t size, size_t at, uint32_t op)
{
    unsigned result = value_operand(0, size, at, op);
    for (uint32_t r = 1; r < size; r++) {
        unsigned value = value_operand(r, size, at, op);
        if (op == SHOAL_SUM)
            result += value;
        else if (op == SHOAL_PROD)
            result *= value;
        else if (op == SHOAL_MIN)
            result = value < result ? value : result;
        else if (op == SHOAL_MAX)
            result = value > result ? value : result;
    }
    return result;
}
