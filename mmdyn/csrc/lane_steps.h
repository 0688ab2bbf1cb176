// The steps of by_lanes.h, on registers: of floats in a row, each of another square or pixel.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "tiles.h"
#include "turn.h"
#include "winograd.h"

namespace {

constexpr int64_t kFewest = 4;  // squares beside each other in a row, in one load

#ifdef HAS_TILES

// Pixels as planes of one channel each.
struct TurnPixels {
  const float* const* pixels;
  int64_t slots, channels, line;
  float* planes;

  template <typename Vector>
  [[gnu::always_inline]] void run() const {
    constexpr int64_t kWidth = sizeof(Vector) / sizeof(float);
    const auto [pixels, slots, channels, line, planes] = *this;
    for (int64_t slot = 0; slot < slots; slot += kWidth) {
      const float* const* at = pixels + slot;
      for (int64_t c = 0; c < channels; c += kWidth) {
        if (channels - c <= kFewest) {
          for (int64_t i = 0; i < kWidth; ++i) {
            for (int64_t k = c; k < channels; ++k) planes[k * line + slot + i] = at[i][k];
          }
          continue;
        }
        const int64_t from = std::min(c, channels - kWidth);  // the last ones may be turned twice
        Vector v[kWidth];
#pragma GCC unroll 16
        for (int i = 0; i < kWidth; ++i) std::memcpy(&v[i], at[i] + from, sizeof(Vector));
        turn(v);
#pragma GCC unroll 16
        for (int i = 0; i < kWidth; ++i) {
          std::memcpy(planes + (from + i) * line + slot, &v[i], sizeof(Vector));
        }
      }
    }
  }
};

template <typename Vector>
struct HalfOf {
  typedef float type __attribute__((vector_size(sizeof(Vector) / 2)));
};

template <typename Vector, typename Part>
[[gnu::always_inline]] inline void join(Vector& v, const Part& low, const Part& high) {
  if constexpr (sizeof(Vector) == 64) {
    v = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  } else {
    v = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7);
  }
}

// Some channels of a register of squares, as inputs of their products: by product, then by channel.
struct TransformPlanes {
  const float* planes;
  const int64_t* starts;  // of each run of squares, in a plane
  int64_t channels, line, pitch, plane;  // the last: numbers from a product to the next
  float* inputs;

  // Squares that lie side by side are loaded together, and runs of them joined in registers.
  template <typename Vector, int Runs>
  [[gnu::always_inline]] static void load(Vector& v, const float* plane, const int64_t* starts) {
    if constexpr (Runs == 1) {
      std::memcpy(&v, plane + starts[0], sizeof(Vector));
    } else {
      typedef typename HalfOf<Vector>::type Part;
      Part low, high;
      load<Part, Runs / 2>(low, plane, starts), load<Part, Runs / 2>(high, plane, starts + Runs / 2);
      join(v, low, high);
    }
  }

  template <typename Vector, int Runs>
  [[gnu::always_inline]] void run() const {
    constexpr int64_t kWidth = sizeof(Vector) / sizeof(float);
    const auto [planes, starts, channels, line, pitch, plane, inputs] = *this;
    for (int64_t c = 0; c < channels; ++c) {
      Vector row[4][4];
#pragma GCC unroll 4
      for (int u = 0; u < 4; ++u) {
        const float* even = planes + c * line + u * 2 * pitch;
        Vector p, q, r, s;
        load<Vector, Runs>(p, even, starts), load<Vector, Runs>(q, even + pitch, starts);
        load<Vector, Runs>(r, even + 1, starts), load<Vector, Runs>(s, even + pitch + 1, starts);
        row[u][0] = p - r, row[u][1] = q + r, row[u][2] = r - q, row[u][3] = q - s;
      }
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const Vector down[4] = {row[0][j] - row[2][j], row[1][j] + row[2][j], row[2][j] - row[1][j],
                                row[1][j] - row[3][j]};
#pragma GCC unroll 4
        for (int u = 0; u < 4; ++u) {
          std::memcpy(inputs + (4 * u + j) * plane + c * kWidth, &down[u], sizeof(Vector));
        }
      }
    }
  }
};

// Products of R output channels, by product and then by channel.
struct MultiplyLanes {
  const float *inputs, *weight;
  int64_t channels, plane;
  float* products;

  template <typename Vector, int R>
  [[gnu::always_inline]] void run() const {
    constexpr int64_t kWidth = sizeof(Vector) / sizeof(float);
    const float* w = weight;
    for (int64_t i = 0; i < kPlanes; ++i) {
      const float* x = inputs + i * plane;
      Vector sum[R] = {};
      for (int64_t k = 0; k < channels; ++k, x += kWidth, w += R) {
        Vector in;
        std::memcpy(&in, x, sizeof(Vector));
#pragma GCC unroll 24
        for (int r = 0; r < R; ++r) sum[r] += w[r] * in;
      }
#pragma GCC unroll 24
      for (int r = 0; r < R; ++r) {
        std::memcpy(products + (i * R + r) * kWidth, &sum[r], sizeof(Vector));
      }
    }
  }
};

// The four outputs of each square, by output and then by channel.
struct TransformLanes {
  const float *products, *bias;
  int64_t pass;
  float* sums;

  template <typename Vector>
  [[gnu::always_inline]] void run() const {
    constexpr int64_t kWidth = sizeof(Vector) / sizeof(float);
    const auto [products, bias, pass, sums] = *this;
    for (int64_t c = 0; c < pass; ++c) {
      Vector m[kPlanes];
#pragma GCC unroll 16
      for (int i = 0; i < kPlanes; ++i) {
        std::memcpy(&m[i], products + (i * pass + c) * kWidth, sizeof(Vector));
      }
      Vector top[4], low[4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        top[j] = m[j] + m[4 + j] + m[8 + j], low[j] = m[4 + j] - m[8 + j] - m[12 + j];
      }
      const Vector four[4] = {top[0] + top[1] + top[2] + bias[c], top[1] - top[2] - top[3] + bias[c],
                              low[0] + low[1] + low[2] + bias[c], low[1] - low[2] - low[3] + bias[c]};
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) std::memcpy(sums + (i * pass + c) * kWidth, &four[i], sizeof(Vector));
    }
  }
};

// One output of each square, where it lies in the map: residual and ReLU.
struct FinishLanes {
  const float* sums;      // by channel
  const int64_t* places;  // of each square's output, or less than 0
  int64_t count;          // channels
  const float* residual;  // or null
  float* out;
  bool relu;

  template <typename Vector>
  [[gnu::always_inline]] void run() const {
    const FinishLanes own = *this;
    if (own.residual) own.finish<Vector, true>();
    else own.finish<Vector, false>();
  }

  template <typename Vector, bool kAdds>
  [[gnu::always_inline]] void finish() const {
    constexpr int64_t kWidth = sizeof(Vector) / sizeof(float);
    for (int64_t c = 0; c < count; c += kWidth) {
      if (count - c <= kFewest) {
        for (int64_t i = 0; i < kWidth; ++i) {
          if (places[i] < 0) continue;
          for (int64_t k = c; k < count; ++k) put<float, kAdds>(sums[k * kWidth + i], places[i] + k);
        }
        continue;
      }
      const int64_t from = std::max<int64_t>(std::min(c, count - kWidth), 0);
      Vector v[kWidth];
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) {
        if (from + i < count) std::memcpy(&v[i], sums + (from + i) * kWidth, sizeof(Vector));
        else v[i] = Vector{};
      }
      turn(v);
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) {
        if (places[i] < 0) continue;
        if (count - from >= kWidth) {
          put<Vector, kAdds>(v[i], places[i] + from);
        } else {
          for (int64_t k = from; k < count; ++k) put<float, kAdds>(v[i][k - from], places[i] + k);
        }
      }
    }
  }

  template <typename Value, bool kAdds>
  [[gnu::always_inline]] void put(const Value& sum, int64_t at) const {
    Value value = sum;
    if constexpr (kAdds) {
      Value other;
      std::memcpy(&other, residual + at, sizeof(Value));
      value += other;
    }
    if (relu) value = value < Value{} ? Value{} : value;  // NaN stays NaN
    std::memcpy(out + at, &value, sizeof(Value));
  }
};

// Instructions that the processor has, for what `run` says.
template <typename Isa>
struct InLanes;

#define IN_LANES(ISA, INSTRUCTIONS)                                                                  \
  template <>                                                                                        \
  struct InLanes<ISA> {                                                                              \
    template <typename Work>                                                                         \
    __attribute__((target(INSTRUCTIONS))) static void run(const Work& work) {                        \
      work.template run<ISA::Vector>();                                                              \
    }                                                                                                \
    template <int N, typename Work>                                                                  \
    __attribute__((target(INSTRUCTIONS))) static void run(const Work& work) {                        \
      work.template run<ISA::Vector, N>();                                                           \
    }                                                                                                \
  };
IN_LANES(Avx512, "avx512f")
IN_LANES(Avx2, "avx2,fma")
#undef IN_LANES

#endif

}  // namespace
