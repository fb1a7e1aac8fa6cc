/* The half types on the host: conversions from and to float, rounding to nearest even, by their bits. C and C++; the emulation
   and the tests use the same ones, which tests/unit/cuda/test_emulation.c compares with arithmetic in double. */
#ifndef BS_TESTS_EMULATION_HALVES_H
#define BS_TESTS_EMULATION_HALVES_H

#include <stdint.h>
#include <string.h>

static inline uint32_t bs_float_bits(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static inline float bs_bits_float(uint32_t bits)
{
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static inline float bs_bfloat_to_float(uint16_t v)
{
    return bs_bits_float((uint32_t)v << 16);
}

static inline uint16_t bs_float_to_bfloat(float v)
{
    uint32_t bits = bs_float_bits(v);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return 0x7fff; /* what CUDA makes of every NaN */
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

static inline float bs_half_to_float(uint16_t v)
{
    uint32_t sign = (uint32_t)(v & 0x8000) << 16, exponent = v >> 10 & 31, fraction = v & 1023;
    if (exponent == 31)
        return bs_bits_float(sign | 0x7f800000u | fraction << 13);
    if (exponent == 0) { /* zero or subnormal: fraction * 2^-24, exact in float */
        float magnitude = (float)fraction * 5.9604644775390625e-8f;
        return sign ? -magnitude : magnitude;
    }
    return bs_bits_float(sign | (exponent + 112) << 23 | fraction << 13);
}

static inline uint16_t bs_float_to_half(float v)
{
    uint32_t bits = bs_float_bits(v), magnitude = bits & 0x7fffffffu;
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    if (magnitude > 0x7f800000u)
        return 0x7fff;
    if (magnitude >= 0x477ff000u) /* 65520, half way beyond the largest: rounds to infinity */
        return sign | 0x7c00;
    if (magnitude >= 0x38800000u) /* 2^-14: normal */
        return sign | (uint16_t)((magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1)) >> 13);
    if (magnitude < 0x33000000u) /* below 2^-25, half the smallest */
        return sign;
    uint32_t fraction = (magnitude & 0x7fffffu) | 0x800000u, shift = 126 - (magnitude >> 23);
    uint32_t half = 1u << (shift - 1), rest = fraction & ((1u << shift) - 1);
    fraction >>= shift;
    fraction += rest > half || (rest == half && (fraction & 1));
    return sign | (uint16_t)fraction;
}

#endif
