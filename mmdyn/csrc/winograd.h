// Winograd's minimal filtering F(2x2, 3x3): four outputs of a 3x3 convolution from sixteen products.

#pragma once

#include <cstdint>

#include "rows.h"

namespace {

constexpr int64_t kSide = 4, kPlanes = kSide * kSide;

// One row or column: the products' inputs of four pixels.
#define BEFORE(a, b, c, d, at) \
  const float at##0 = a - c, at##1 = b + c, at##2 = c - b, at##3 = b - d

// Sixteen pixels of c channels each, as inputs of the products: planes `pitch` apart.
WIDEST void transform_pixels(const float* const* pixels, float* to, int64_t pitch, int64_t c) {
  const float *p0 = pixels[0], *p1 = pixels[1], *p2 = pixels[2], *p3 = pixels[3];
  const float *p4 = pixels[4], *p5 = pixels[5], *p6 = pixels[6], *p7 = pixels[7];
  const float *p8 = pixels[8], *p9 = pixels[9], *pa = pixels[10], *pb = pixels[11];
  const float *pc = pixels[12], *pd = pixels[13], *pe = pixels[14], *pf = pixels[15];
#pragma GCC ivdep
  for (int64_t i = 0; i < c; ++i) {
    BEFORE(p0[i], p4[i], p8[i], pc[i], a);
    BEFORE(p1[i], p5[i], p9[i], pd[i], b);
    BEFORE(p2[i], p6[i], pa[i], pe[i], e);
    BEFORE(p3[i], p7[i], pb[i], pf[i], f);
    BEFORE(a0, b0, e0, f0, q);
    BEFORE(a1, b1, e1, f1, r);
    BEFORE(a2, b2, e2, f2, s);
    BEFORE(a3, b3, e3, f3, t);
    to[i] = q0, to[pitch + i] = q1, to[2 * pitch + i] = q2, to[3 * pitch + i] = q3;
    to[4 * pitch + i] = r0, to[5 * pitch + i] = r1, to[6 * pitch + i] = r2, to[7 * pitch + i] = r3;
    to[8 * pitch + i] = s0, to[9 * pitch + i] = s1, to[10 * pitch + i] = s2, to[11 * pitch + i] = s3;
    to[12 * pitch + i] = t0, to[13 * pitch + i] = t1, to[14 * pitch + i] = t2, to[15 * pitch + i] = t3;
  }
}

#undef BEFORE

// The products of c output channels, planes `pitch` apart, as four pixels (2 x 2 x kWidest).
constexpr int64_t kWidest = 32;

WIDEST void transform_products(const float* from, int64_t pitch, const float* bias, float* to) {
  const float* m[kPlanes];
  for (int64_t i = 0; i < kPlanes; ++i) m[i] = from + i * pitch;
#pragma GCC ivdep
  for (int64_t i = 0; i < kWidest; ++i) {
    float top[4], low[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      top[j] = m[j][i] + m[4 + j][i] + m[8 + j][i];
      low[j] = m[4 + j][i] - m[8 + j][i] - m[12 + j][i];
    }
    to[i] = top[0] + top[1] + top[2] + bias[i];
    to[kWidest + i] = top[1] - top[2] - top[3] + bias[i];
    to[2 * kWidest + i] = low[0] + low[1] + low[2] + bias[i];
    to[3 * kWidest + i] = low[1] - low[2] - low[3] + bias[i];
  }
}

// One pixel: residual (or null) and ReLU.
WIDEST void finish_pixel(const float* sum, const float* residual, float* out, int64_t c, bool relu) {
#pragma GCC ivdep
  for (int64_t i = 0; i < c; ++i) {
    const float value = residual ? sum[i] + residual[i] : sum[i];
    out[i] = relu && value < 0.0f ? 0.0f : value;  // NaN stays NaN
  }
}

}  // namespace
