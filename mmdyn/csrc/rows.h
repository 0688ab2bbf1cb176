// Rows of numbers, in the widest registers that the processor has.

#pragma once

#include <c10/util/BFloat16.h>

#include <cstdint>
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define WIDEST __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3")))
#else
#define WIDEST
#endif

namespace {

using Half = c10::BFloat16;

inline float as_float(Half value) {
  const uint32_t bits = static_cast<uint32_t>(value.x) << 16;
  float out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}

// To the nearest, of two equally near ones the even one; NaN stays NaN.
inline uint16_t rounded(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t up = bits + 0x7fffu + ((bits >> 16) & 1u);
  return static_cast<uint16_t>(value != value ? 0x7fc0u : up >> 16);
}

// The mean of four rows of n numbers.
WIDEST void mean_of_four(float* __restrict__ out, const float* a, const float* b, const float* c,
                         const float* d, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = ((a[i] + b[i]) + (c[i] + d[i])) * 0.25f;
}

WIDEST void mean_of_four(Half* __restrict__ out, const Half* a, const Half* b, const Half* c,
                         const Half* d, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float sum = (as_float(a[i]) + as_float(b[i])) + (as_float(c[i]) + as_float(d[i]));
    out[i].x = rounded(sum * 0.25f);
  }
}

}  // namespace
