// Products of bfloat16 in AMX tiles: 32 pixels times a panel of 32 output channels at once.

#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 11 && defined(__linux__)
#define HAS_AMX 1
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "rows.h"
#include "tiles.h"

namespace {

#ifdef HAS_AMX

constexpr int64_t kStep = 32;    // inputs of one tile
constexpr int64_t kDepth = 1024;  // inputs that are copied at once
constexpr int64_t kHalfRow = kDepth + 32;  // distance of two copied pixels

// Whether the processor has AMX and AVX-512 with bfloat16, and the kernel lets us use the tiles.
bool has_amx() {
  static const bool found = [] {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    const bool amx = (d >> 22 & 1) && (d >> 24 & 1), wide = (b >> 16 & 1) && (b >> 30 & 1) && (b >> 31 & 1);
    if (!amx || !wide || !__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a >> 5 & 1)) return false;
    return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0;
  }();
  return found;
}

struct alignas(64) TileConfig {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

#define AMX __attribute__((target("amx-tile,amx-bf16,avx512f")))
#define NARROW __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

// The compiler does not know that the instructions below read and write memory.
inline void settle_memory() { asm volatile("" ::: "memory"); }

AMX void take_tiles() {
  static const TileConfig config;
  settle_memory();
  _tile_loadconfig(&config);
}

AMX void leave_tiles() { _tile_release(); }

// sums (32, kPanel) += pixels (32, depth) times weights (depth / 2, kPanel, 2); `few`: of 16 pixels.
AMX void add_product(const Half* pixels, const Half* weights, int64_t depth, float* sums, bool first,
                     bool few) {
  constexpr int64_t row = kPanel * sizeof(float), line = kHalfRow * sizeof(Half);
  settle_memory();
  if (first) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, sums, row);
    _tile_loadd(1, sums + 16, row);
    _tile_loadd(2, sums + 16 * kPanel, row);
    _tile_loadd(3, sums + 16 * kPanel + 16, row);
  }
  for (int64_t k = 0; k < depth; k += kStep) {
    const Half* w = weights + k * kPanel;
    _tile_loadd(4, pixels + k, line);
    _tile_loadd(6, w, 2 * kPanel * sizeof(Half));
    _tile_loadd(7, w + kPanel, 2 * kPanel * sizeof(Half));
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if (few) continue;
    _tile_loadd(5, pixels + 16 * kHalfRow + k, line);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, sums, row);
  _tile_stored(1, sums + 16, row);
  _tile_stored(2, sums + 16 * kPanel, row);
  _tile_stored(3, sums + 16 * kPanel + 16, row);
  settle_memory();
}

NARROW inline __m512 widen(__m256i halves) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

// Bias, residual and ReLU of `count` pixels, rounded into `out`, whose rows are `pitch` apart.
NARROW void finish(const float* sums, int64_t count, int64_t columns, const float* bias,
                   const Half* residual, Half* out, int64_t pitch, bool relu) {
  for (int64_t v = 0; v < columns; v += 16) {
    const __mmask16 mask = columns - v >= 16 ? 0xffff : (1u << (columns - v)) - 1;
    const __m512 shift = bias ? _mm512_loadu_ps(bias + v) : _mm512_setzero_ps();
    for (int64_t i = 0; i < count; ++i) {
      __m512 sum = _mm512_add_ps(_mm512_loadu_ps(sums + i * kPanel + v), shift);
      if (residual) {
        sum = _mm512_add_ps(sum, widen(_mm256_maskz_loadu_epi16(mask, residual + i * pitch + v)));
      }
      if (relu) sum = _mm512_max_ps(_mm512_setzero_ps(), sum);
      const __m256bh halves = _mm512_cvtneps_pbh(sum);
      __m256i bits;
      std::memcpy(&bits, &halves, sizeof bits);
      _mm256_mask_storeu_epi16(out + i * pitch + v, mask, bits);
    }
  }
}

#undef AMX
#undef NARROW

#else

bool has_amx() { return false; }

#endif

}  // namespace
