// A square matrix turned about its diagonal, in registers.

#pragma once

namespace {

#ifdef __GNUC__

// Rows v of as many numbers as there are rows. Inlined into callers that say which instructions there are.
template <typename Vector>
[[gnu::always_inline]] inline void turn(Vector* v) {
  constexpr int kWidth = sizeof(Vector) / sizeof(float);
#pragma GCC unroll 4
  for (int half = 1; half < kWidth; half *= 2) {
    decltype(Vector{} < Vector{}) low, high;
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) {
      low[i] = i & half ? kWidth + i - half : i;
      high[i] = i & half ? kWidth + i : i + half;
    }
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) {
      if (i & half) continue;
      const Vector a = v[i], b = v[i + half];
#ifdef __clang__
      for (int j = 0; j < kWidth; ++j) {
        v[i][j] = low[j] < kWidth ? a[low[j]] : b[low[j] - kWidth];
        v[i + half][j] = high[j] < kWidth ? a[high[j]] : b[high[j] - kWidth];
      }
#else
      v[i] = __builtin_shuffle(a, b, low);
      v[i + half] = __builtin_shuffle(a, b, high);
#endif
    }
  }
}

#endif

}  // namespace
