// A tile of pixels times a panel of output channels, in registers.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "places.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define HAS_TILES 1
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

// R pixels and V registers of channels. Inlined into callers that say which instructions there are.
template <typename Vector, int R, int V>
[[gnu::always_inline]] inline void multiply_tile(const Tile& t) {
  constexpr int64_t kWidth = sizeof(Vector) / sizeof(float);
  Vector sum[R][V], w[V];
#pragma GCC unroll 14
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      const float* from = t.first ? t.bias : t.c + r * t.pitch;
      if (from) std::memcpy(&sum[r][v], from + v * kWidth, sizeof(Vector));
      else sum[r][v] = Vector{};
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
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) {
        std::memcpy(&w[v], b + v * kWidth, sizeof(Vector));
        __builtin_prefetch(b + 8 * kPanel + v * kWidth);  // read in order, from the second-level cache
      }
#pragma GCC unroll 14
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) sum[r][v] += a[r][k] * w[v];
      }
    }
    done += length;
  }
#pragma GCC unroll 14
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      const int64_t at = r * t.pitch + v * kWidth;
      if (t.last && t.residual) {
        Vector other;
        std::memcpy(&other, t.residual + at, sizeof(Vector));
        sum[r][v] += other;
      }
      if (t.last && t.relu) sum[r][v] = sum[r][v] < Vector{} ? Vector{} : sum[r][v];  // NaN stays NaN
      std::memcpy(t.c + at, &sum[r][v], sizeof(Vector));
    }
  }
}

// 14 pixels and 32 channels fill 28 of 32 registers.
struct Avx512 {
  typedef float Vector __attribute__((vector_size(64)));
  static constexpr int kRows = 14, kWidth = 16, kLanes = 24;
  template <int R, int V>
  __attribute__((target("avx512f"))) static void run(const Tile& t) { multiply_tile<Vector, R, V>(t); }
};

struct Avx2 {
  typedef float Vector __attribute__((vector_size(32)));
  static constexpr int kRows = 6, kWidth = 8, kLanes = 12;
  template <int R, int V>
  __attribute__((target("avx2,fma"))) static void run(const Tile& t) { multiply_tile<Vector, R, V>(t); }
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
