// A tile of pixels times a panel of output channels, in registers.

#pragma once

#include <algorithm>
#include <cstdint>

#include "places.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define HAS_TILES 1
#include <immintrin.h>
#endif

namespace {

constexpr int64_t kPanel = 32;   // output channels that a packed weight keeps together

struct Tile {
  const float* const* lines;  // where each pixel's inputs lie; of the next tap, kBlock further
  int64_t channels;           // of a tap
  int64_t from, depth;        // the inputs, tap by tap, that are multiplied
  const float* b;             // (depth, kPanel)
  float* c;               // pixels, `pitch` apart
  int64_t pitch;
  const float* bias;      // of the panel, or null
  const float* residual;  // pixels, `pitch` apart, or null
  bool first, last, relu;
};

#ifdef HAS_TILES

// Weights are read in order, from the second-level cache: eight inputs ahead.
inline void fetch(const float* b) { _mm_prefetch(reinterpret_cast<const char*>(b + 8 * kPanel), _MM_HINT_T0); }

// 14 pixels and 32 channels fill 28 of 32 registers.
struct Avx512 {
  static constexpr int kRows = 14, kWidth = 16;
  template <int R, int V>
  __attribute__((target("avx512f"))) static void run(const Tile& t) {
    __m512 sum[R][V];
#pragma GCC unroll 14
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) {
        if (!t.first) sum[r][v] = _mm512_loadu_ps(t.c + r * t.pitch + v * kWidth);
        else sum[r][v] = t.bias ? _mm512_loadu_ps(t.bias + v * kWidth) : _mm512_setzero_ps();
      }
    }
    const float* b = t.b;
    for (int64_t done = 0; done < t.depth;) {
      const int64_t tap = (t.from + done) / t.channels, first = (t.from + done) % t.channels;
      const int64_t length = std::min(t.depth - done, t.channels - first);
      const float* a[R];
#pragma GCC unroll 14
      for (int r = 0; r < R; ++r) a[r] = t.lines[tap * kBlock + r] + first;
      for (int64_t k = 0; k < length; ++k, b += kPanel) {
        __m512 w[V];
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) w[v] = _mm512_loadu_ps(b + v * kWidth), fetch(b + v * kWidth);
#pragma GCC unroll 14
        for (int r = 0; r < R; ++r) {
          const __m512 x = _mm512_set1_ps(a[r][k]);
#pragma GCC unroll 2
          for (int v = 0; v < V; ++v) sum[r][v] = _mm512_fmadd_ps(x, w[v], sum[r][v]);
        }
      }
      done += length;
    }
#pragma GCC unroll 14
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) {
        const int64_t at = r * t.pitch + v * kWidth;
        if (t.last && t.residual) sum[r][v] = _mm512_add_ps(sum[r][v], _mm512_loadu_ps(t.residual + at));
        // The second operand is what NaN gives.
        if (t.last && t.relu) sum[r][v] = _mm512_max_ps(_mm512_setzero_ps(), sum[r][v]);
        _mm512_storeu_ps(t.c + at, sum[r][v]);
      }
    }
  }
};

struct Avx2 {
  static constexpr int kRows = 6, kWidth = 8;
  template <int R, int V>
  __attribute__((target("avx2,fma"))) static void run(const Tile& t) {
    __m256 sum[R][V];
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) {
        if (!t.first) sum[r][v] = _mm256_loadu_ps(t.c + r * t.pitch + v * kWidth);
        else sum[r][v] = t.bias ? _mm256_loadu_ps(t.bias + v * kWidth) : _mm256_setzero_ps();
      }
    }
    const float* b = t.b;
    for (int64_t done = 0; done < t.depth;) {
      const int64_t tap = (t.from + done) / t.channels, first = (t.from + done) % t.channels;
      const int64_t length = std::min(t.depth - done, t.channels - first);
      const float* a[R];
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r) a[r] = t.lines[tap * kBlock + r] + first;
      for (int64_t k = 0; k < length; ++k, b += kPanel) {
        __m256 w[V];
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) w[v] = _mm256_loadu_ps(b + v * kWidth), fetch(b + v * kWidth);
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r) {
          const __m256 x = _mm256_set1_ps(a[r][k]);
#pragma GCC unroll 2
          for (int v = 0; v < V; ++v) sum[r][v] = _mm256_fmadd_ps(x, w[v], sum[r][v]);
        }
      }
      done += length;
    }
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) {
        const int64_t at = r * t.pitch + v * kWidth;
        if (t.last && t.residual) sum[r][v] = _mm256_add_ps(sum[r][v], _mm256_loadu_ps(t.residual + at));
        if (t.last && t.relu) sum[r][v] = _mm256_max_ps(_mm256_setzero_ps(), sum[r][v]);
        _mm256_storeu_ps(t.c + at, sum[r][v]);
      }
    }
  }
};

// Runs `rows` pixels, at most Isa::kRows of them, and V registers of channels.
template <typename Isa, int V, int R = Isa::kRows>
void run_rows(int64_t rows, const Tile& t) {
  if constexpr (R > 1) {
    if (rows < R) return run_rows<Isa, V, R - 1>(rows, t);
  }
  Isa::template run<R, V>(t);
}

// The same over `channels` of a panel.
template <typename Isa>
void run_tile(int64_t rows, int64_t channels, Tile t) {
  for (int64_t done = 0; done < channels; done += 2 * Isa::kWidth) {
    if (channels - done > Isa::kWidth) run_rows<Isa, 2>(rows, t);
    else run_rows<Isa, 1>(rows, t);
    t.b += 2 * Isa::kWidth, t.c += 2 * Isa::kWidth;
    if (t.bias) t.bias += 2 * Isa::kWidth;
    if (t.residual) t.residual += 2 * Isa::kWidth;
  }
}

#endif

}  // namespace
