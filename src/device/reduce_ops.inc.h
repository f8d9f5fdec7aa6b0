/*
 * Instantiates the kernels of one dtype: includes K_KERNEL once for each op.
 *
 * Parameters: K_KERNEL (a quoted file), K_DTYPE, K_FAMILY (whose <family>_<op> combines), and what
 * K_KERNEL itself asks for. K_EXTREMES_ONLY leaves out sum and prod. The kernel file sees
 * K_NAME(stem), which expands to stem_<dtype>_<op>, and K_COMBINE. Undefines K_DTYPE, K_FAMILY and
 * K_EXTREMES_ONLY.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define K_PASTE2_(a, b) a##_##b
#define K_PASTE2(a, b) K_PASTE2_(a, b)
#define K_PASTE3_(a, b, c) a##_##b##_##c
#define K_PASTE3(a, b, c) K_PASTE3_(a, b, c)
#define K_NAME(stem) K_PASTE3(stem, K_DTYPE, K_OP)
#define K_COMBINE K_PASTE2(K_FAMILY, K_OP)

#ifndef K_EXTREMES_ONLY
#define K_OP sum
#include K_KERNEL
#undef K_OP
#define K_OP prod
#include K_KERNEL
#undef K_OP
#endif
#define K_OP min
#include K_KERNEL
#undef K_OP
#define K_OP max
#include K_KERNEL
#undef K_OP

#undef K_NAME
#undef K_COMBINE
#undef K_PASTE2_
#undef K_PASTE2
#undef K_PASTE3_
#undef K_PASTE3
#undef K_DTYPE
#undef K_FAMILY
#undef K_EXTREMES_ONLY
