/*
 * What all vector sets share: integer arithmetic, bf16 and fp8 conversions, f16 by halves.
 *
 * Included by one ISA file after its primitives (vec, VEC_BYTES, vec_load, if_gt_i32, i32_min,
 * f32_sum, ...). Written over the compilers' vector types.
 *
 * Low precision works on whole vectors: `f32x2` is a vector of 16-bit values, `f32x4` one of 8-bit
 * values, widened to two or four vectors of float32. Which element goes where does not matter as
 * long as narrowing puts it back, so bf16 and fp8 split inside lanes with shifts. Narrowing comes
 * after at least one operation, so every NaN that it sees is quiet.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
typedef uint8_t vec_u8 __attribute__((vector_size(VEC_BYTES)));
typedef uint16_t vec_u16 __attribute__((vector_size(VEC_BYTES)));
typedef uint64_t vec_u64 __attribute__((vector_size(VEC_BYTES)));
typedef float vec_f32 __attribute__((vector_size(VEC_BYTES)));
typedef double vec_f64 __attribute__((vector_size(VEC_BYTES)));

struct f32x2 {
    vec v0, v1;
};

struct f32x4 {
    vec v0, v1, v2, v3;
};

#define DEFINE_ARITHMETIC(name, type, op, sign)                                                    \
    SIMD_INLINE vec name##_##op(vec a, vec b)                                                      \
    {                                                                                              \
        return (vec)((type)a sign(type) b);                                                        \
    }

DEFINE_ARITHMETIC(u8, vec_u8, sum, +)
DEFINE_ARITHMETIC(u8, vec_u8, prod, *)
DEFINE_ARITHMETIC(u32, vec, sum, +)
DEFINE_ARITHMETIC(u32, vec, prod, *)
DEFINE_ARITHMETIC(u64, vec_u64, sum, +)
DEFINE_ARITHMETIC(u64, vec_u64, prod, *)
DEFINE_ARITHMETIC(f32, vec_f32, div, /)
DEFINE_ARITHMETIC(f64, vec_f64, div, /)

/* Two's complement: signed sums and products have the bits of the unsigned ones. */
#define i8_sum u8_sum
#define i8_prod u8_prod
#define i32_sum u32_sum
#define i32_prod u32_prod
#define i64_sum u64_sum
#define i64_prod u64_prod

#define DEFINE_WIDE(op)                                                                            \
    SIMD_INLINE struct f32x2 f32x2_##op(struct f32x2 a, struct f32x2 b)                            \
    {                                                                                              \
        return (struct f32x2){f32_##op(a.v0, b.v0), f32_##op(a.v1, b.v1)};                         \
    }                                                                                              \
    SIMD_INLINE struct f32x4 f32x4_##op(struct f32x4 a, struct f32x4 b)                            \
    {                                                                                              \
        return (struct f32x4){f32_##op(a.v0, b.v0), f32_##op(a.v1, b.v1), f32_##op(a.v2, b.v2),    \
                              f32_##op(a.v3, b.v3)};                                               \
    }

DEFINE_WIDE(sum)
DEFINE_WIDE(prod)
DEFINE_WIDE(min)
DEFINE_WIDE(max)
DEFINE_WIDE(div)

SIMD_INLINE vec splat(uint32_t x)
{
    return (vec){0} + x;
}

SIMD_INLINE vec splat_f32(double x)
{
    return (vec)((vec_f32){0} + (float)x);
}

SIMD_INLINE vec splat_f64(double x)
{
    return (vec)((vec_f64){0} + x);
}

SIMD_INLINE struct f32x2 splat_f32x2(double x)
{
    return (struct f32x2){splat_f32(x), splat_f32(x)};
}

SIMD_INLINE struct f32x4 splat_f32x4(double x)
{
    return (struct f32x4){splat_f32(x), splat_f32(x), splat_f32(x), splat_f32(x)};
}

SIMD_INLINE vec f32_plus(vec a, float b)
{
    return (vec)((vec_f32)a + b);
}

SIMD_INLINE struct f32x2 widen_f16(vec h)
{
    return (struct f32x2){f32_of_f16_half(h, 0), f32_of_f16_half(h, 1)};
}

SIMD_INLINE vec narrow_f16(struct f32x2 f)
{
    return f16_of_f32_halves(f.v0, f.v1);
}

SIMD_INLINE struct f32x2 widen_bf16(vec h)
{
    return (struct f32x2){h << 16, h & 0xffff0000u};
}

/* The rounded value in the upper half of each lane; the lower half is rubbish. A NaN is quiet by
 * now, so cutting it off leaves a NaN; rounding it could carry into the sign. */
SIMD_INLINE vec round_bf16(vec f)
{
    return if_nan_f32(f, f, f + (((f >> 16) & 1) + 0x7fff));
}

SIMD_INLINE vec narrow_bf16(struct f32x2 f)
{
    return (round_bf16(f.v0) >> 16) | (round_bf16(f.v1) & 0xffff0000u);
}

/*
 * fp8 widens by way of f16: a byte of E5M2 is the upper half of an f16, and one of E4M3 shifted by
 * one less is an f16 of 1/256 its value, for subnormals too. What is E4M3's NaN becomes one of f16
 * when the topmost exponent bit is set; its payload is lost again at narrowing.
 */
SIMD_INLINE vec f16_of_f8e4m3(vec top_bytes)
{
    vec magnitude = top_bytes & 0x7f007f00;
    vec nan = (vec)((vec_u16)magnitude + 0x0100) & 0x80008000;
    return (top_bytes & 0x80008000) | ((magnitude | nan) >> 1);
}

SIMD_INLINE vec times_256(vec f)
{
    return (vec)((vec_f32)f * 256.0f);
}

/* Bytes at even places in the first two vectors, at odd places in the others. */
SIMD_INLINE struct f32x4 widen_f8e5m2(vec b)
{
    struct f32x2 even = widen_f16((vec)((vec_u16)b << 8)), odd = widen_f16(b & 0xff00ff00);
    return (struct f32x4){even.v0, even.v1, odd.v0, odd.v1};
}

SIMD_INLINE struct f32x4 widen_f8e4m3(vec b)
{
    struct f32x2 even = widen_f16(f16_of_f8e4m3((vec)((vec_u16)b << 8)));
    struct f32x2 odd = widen_f16(f16_of_f8e4m3(b));
    return (struct f32x4){times_256(even.v0), times_256(even.v1), times_256(odd.v0),
                          times_256(odd.v1)};
}

/*
 * The byte in the low end of each lane. A subnormal rounds in the float32 adder: at `unit`, 2^23
 * times the smallest subnormal, the last bit of a float32 weighs as much as that subnormal.
 */
SIMD_INLINE vec narrow_f8(vec f, unsigned mantissa, uint32_t largest, uint32_t smallest_normal,
                          float unit, uint32_t unit_bits)
{
    const unsigned shift = 23 - mantissa;
    const uint32_t rebias = mantissa == 3 ? 120u << 23 : 112u << 23;
    vec magnitude = f & 0x7fffffff;
    vec finite = i32_min(magnitude, splat(largest));
    vec normal = (finite + ((finite >> shift) & 1) + ((1u << (shift - 1)) - 1 - rebias)) >> shift;
    vec subnormal = f32_plus(finite, unit) - unit_bits;
    vec nan = mantissa == 3 ? splat(0x7f) : ((magnitude >> shift) & 3) | 0x7e;
    vec r = if_gt_i32(splat(smallest_normal), finite, subnormal, normal);

    return if_nan_f32(f, nan, r) | ((f >> 24) & 0x80);
}

#define DEFINE_NARROW_F8(dtype, mantissa, largest, smallest_normal, unit, unit_bits)               \
    SIMD_INLINE vec narrow_##dtype##_lane(vec f)                                                   \
    {                                                                                              \
        return narrow_f8(f, mantissa, largest, smallest_normal, unit, unit_bits);                  \
    }                                                                                              \
    SIMD_INLINE vec narrow_##dtype(struct f32x4 f)                                                 \
    {                                                                                              \
        vec even = u16_of_u32_halves(narrow_##dtype##_lane(f.v0), narrow_##dtype##_lane(f.v1));    \
        vec odd = u16_of_u32_halves(narrow_##dtype##_lane(f.v2), narrow_##dtype##_lane(f.v3));     \
        return even | (odd << 8);                                                                  \
    }

/*                         448         2^-6         2^14 */
DEFINE_NARROW_F8(f8e4m3, 3, 0x43e00000, 0x3c800000, 0x1p14f, 0x46800000)
/*                         57344       2^-14        2^7 */
DEFINE_NARROW_F8(f8e5m2, 2, 0x47600000, 0x38800000, 0x1p7f, 0x43000000)

/* Copies past the caches; the caller fences. */
static void copy_stream(void *out_, const void *in_, size_t bytes)
{
    char *out = out_;
    const char *in = in_;
    size_t at = simd_peel(out, SIMD_LINE, 1);

    if (at > bytes)
        at = bytes;
    memcpy(out, in, at);
    for (; bytes - at >= 2 * SIMD_LINE; at += 2 * SIMD_LINE) {
        vec v[2 * SIMD_LINE / VEC_BYTES];
        __builtin_prefetch(in + at + SIMD_COPY_AHEAD);
        __builtin_prefetch(in + at + SIMD_COPY_AHEAD + SIMD_LINE);
        SIMD_UNROLL
        for (size_t u = 0; u < 2 * SIMD_LINE / VEC_BYTES; u++)
            v[u] = vec_load(in + at + u * VEC_BYTES);
        SIMD_UNROLL
        for (size_t u = 0; u < 2 * SIMD_LINE / VEC_BYTES; u++)
            vec_stream(out + at + u * VEC_BYTES, v[u]);
    }
    memcpy(out + at, in + at, bytes - at);
}

/* Whether streaming stores of whole lines can run through all outputs in step. */
static bool outs_alike(char *const *outs, size_t out_count, size_t elem_bytes)
{
    uintptr_t differ = 0;

    for (size_t k = 1; k < out_count; k++)
        differ |= ((uintptr_t)outs[k] ^ (uintptr_t)outs[0]) % SIMD_LINE;
    return differ == 0 && (uintptr_t)outs[0] % elem_bytes == 0;
}

static void copy_one(char *out, const char *in, size_t bytes, bool stream)
{
    if (stream)
        copy_stream(out, in, bytes);
    else
        memcpy(out, in, bytes);
}

#define ALL_CACHED SIZE_MAX

/* One input: nothing is combined, so it is copied bit for bit, to where it is not already. */
static void push_copy(char *const *outs, size_t out_count, const char *in, size_t bytes,
                      size_t cached)
{
    for (size_t k = 0; k < out_count; k++)
        if (outs[k] != in)
            copy_one(outs[k], in, bytes, k >= cached);
    if (cached < out_count)
        vec_fence();
}
