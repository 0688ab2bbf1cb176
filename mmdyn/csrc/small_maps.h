// Layers of small maps with few channels, and their gradients: a policy's. Pixels are kept
// channels-last, padded with zeros to whole registers. On one thread: waiting for another takes longer.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "rows.h"

namespace {

constexpr int64_t kFew = 6;   // pixels, or input channels, that are multiplied together
constexpr int64_t kWide = 16;  // output channels
constexpr int64_t kGroup = 4;  // channels that are normalised together
constexpr double kEps = 1e-5;

inline int64_t padded(int64_t channels) { return (channels + kWide - 1) / kWide * kWide; }

struct Map {
  int64_t h, w, c, pitch;
  std::vector<float> data;

  Map(int64_t h, int64_t w, int64_t c) : h(h), w(w), c(c), pitch(padded(c)), data(h * w * pitch, 0.0f) {}
  float* at(int64_t y, int64_t x) { return data.data() + (y * w + x) * pitch; }
  const float* at(int64_t y, int64_t x) const { return data.data() + (y * w + x) * pitch; }
  int64_t pixels() const { return h * w; }
};

typedef float Eight __attribute__((vector_size(32)));

// Adds to kFew rows of kWide numbers: to c[r] the sum over k of a[r][k * a_step] times the row b + k * b_step.
WIDEST void multiply(float* const* c, const float* const* a, int64_t a_step, const float* b,
                     int64_t b_step, int64_t length) {
  Eight sum[kFew][2], row[2];
  for (int r = 0; r < kFew; ++r) std::memcpy(sum[r], c[r], sizeof sum[r]);
  for (int64_t k = 0; k < length; ++k, b += b_step) {
    std::memcpy(row, b, sizeof row);
    for (int r = 0; r < kFew; ++r) {
      const float x = a[r][k * a_step];
      sum[r][0] += x * row[0];
      sum[r][1] += x * row[1];
    }
  }
  for (int r = 0; r < kFew; ++r) std::memcpy(c[r], sum[r], sizeof sum[r]);
}

// A square kernel at a stride, padded by half of it.
struct Kernel {
  int64_t outputs, inputs, side, stride;

  int64_t taps() const { return side * side; }
  int64_t half() const { return side / 2; }
  int64_t size() const { return outputs * inputs * taps(); }
  int64_t reduced(int64_t length) const { return (length - 1) / stride + 1; }

  // The weight (outputs, inputs, side, side) as (taps, inputs, outputs), outputs padded; or
  // transposed, as (taps, outputs, inputs), inputs padded.
  std::vector<float> packed(const float* weight, bool transposed) const {
    const int64_t rows = transposed ? outputs : inputs, columns = transposed ? inputs : outputs;
    const int64_t down = transposed ? inputs * taps() : taps();
    const int64_t across = transposed ? taps() : inputs * taps();
    std::vector<float> out(taps() * rows * padded(columns), 0.0f);
    for (int64_t t = 0; t < taps(); ++t)
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < columns; ++c)
          out[(t * rows + r) * padded(columns) + c] = weight[r * down + c * across + t];
    return out;
  }
};

// Adds the products of kFew pixels, `step` apart from x on, with one tap's rows of `packed`. What
// `source` says to lie outside of the map is `zeros`, as many as a pixel has channels there, and
// what is written beyond the row is lost.
template <typename Source>
void add_tap(Map& to, int64_t y, int64_t x, int64_t step, const float* packed,
             const std::vector<float>& zeros, const Source& source) {
  alignas(64) float lost[kWide];
  const float* a[kFew];
  float* c[kFew];
  for (int64_t r = 0; r < kFew; ++r) {
    const bool inside = x + r * step < to.w;
    const float* from = inside ? source(x + r * step) : nullptr;
    a[r] = from ? from : zeros.data();
    c[r] = inside ? to.at(y, x + r * step) : nullptr;
  }
  for (int64_t o = 0; o < to.pitch; o += kWide) {
    float* rows[kFew];
    for (int64_t r = 0; r < kFew; ++r) rows[r] = c[r] ? c[r] + o : lost;
    std::memset(lost, 0, sizeof lost);
    multiply(rows, a, 1, packed + o, to.pitch, zeros.size());
  }
}

Map convolve(const Map& x, const Kernel& k, const float* weight, const float* bias) {
  Map out(k.reduced(x.h), k.reduced(x.w), k.outputs);
  const std::vector<float> packed = k.packed(weight, false), zeros(k.inputs, 0.0f);
  for (int64_t y = 0; y < out.h; ++y) {
    for (int64_t at = 0; bias && at < out.w; ++at) std::copy(bias, bias + k.outputs, out.at(y, at));
    for (int64_t at = 0; at < out.w; at += kFew) {
      for (int64_t t = 0; t < k.taps(); ++t) {
        const int64_t row = y * k.stride + t / k.side - k.half(), shift = t % k.side - k.half();
        if (row < 0 || row >= x.h) continue;
        add_tap(out, y, at, 1, packed.data() + t * k.inputs * out.pitch, zeros, [&](int64_t to) {
          const int64_t from = to * k.stride + shift;
          return from < 0 || from >= x.w ? nullptr : x.at(row, from);
        });
      }
    }
  }
  return out;
}

// The gradient of a convolution's input, of the size of `like`.
Map input_gradient(const Map& grad, const Kernel& k, const float* weight, const Map& like) {
  Map out(like.h, like.w, like.c);
  const std::vector<float> packed = k.packed(weight, true), zeros(k.outputs, 0.0f);
  for (int64_t y = 0; y < out.h; ++y) {
    for (int64_t t = 0; t < k.taps(); ++t) {
      const int64_t down = y + k.half() - t / k.side, shift = k.half() - t % k.side;
      if (down < 0 || down % k.stride || down / k.stride >= grad.h) continue;
      const int64_t first = (k.stride - shift % k.stride) % k.stride;  // that the tap reached
      for (int64_t at = first; at < out.w; at += kFew * k.stride) {
        const float* rows = packed.data() + t * k.outputs * out.pitch;
        add_tap(out, y, at, k.stride, rows, zeros, [&](int64_t to) {
          const int64_t from = (to + shift) / k.stride;
          return to + shift < 0 || from >= grad.w ? nullptr : grad.at(down / k.stride, from);
        });
      }
    }
  }
  return out;
}

// Adds one tap's gradient of kFew input channels from `channel` on to their rows of `sums`.
void add_weight_gradient(const Map& x, const Map& grad, const Kernel& k, int64_t t, int64_t channel,
                         float* sums) {
  const int64_t shift = t % k.side - k.half(), last = x.w - 1 - shift;
  const int64_t from = shift < 0 ? (-shift + k.stride - 1) / k.stride : 0;
  const int64_t until = last < 0 ? 0 : std::min(grad.w, last / k.stride + 1);
  for (int64_t y = 0; from < until && y < grad.h; ++y) {
    const int64_t row = y * k.stride + t / k.side - k.half();
    if (row < 0 || row >= x.h) continue;
    const float* a[kFew];
    for (int64_t r = 0; r < kFew; ++r)
      a[r] = x.at(row, from * k.stride + shift) + std::min(channel + r, k.inputs - 1);
    for (int64_t o = 0; o < grad.pitch; o += kWide) {
      float* c[kFew];
      for (int64_t r = 0; r < kFew; ++r) c[r] = sums + r * grad.pitch + o;
      multiply(c, a, k.stride * x.pitch, grad.at(y, from) + o, grad.pitch, until - from);
    }
  }
}

// The gradient of a convolution's weight, written as (outputs, inputs, side, side).
void weight_gradient(const Map& x, const Map& grad, const Kernel& k, float* to) {
  std::vector<float> sums(kFew * grad.pitch);
  for (int64_t t = 0; t < k.taps(); ++t) {
    for (int64_t channel = 0; channel < k.inputs; channel += kFew) {
      std::fill(sums.begin(), sums.end(), 0.0f);
      add_weight_gradient(x, grad, k, t, channel, sums.data());
      for (int64_t r = 0; r < kFew && channel + r < k.inputs; ++r)
        for (int64_t o = 0; o < k.outputs; ++o)
          to[(o * k.inputs + channel + r) * k.taps() + t] = sums[r * grad.pitch + o];
    }
  }
}

// The sum of a map's pixels, of each channel.
void add_pixels(const Map& x, float* to) {
  std::vector<double> sums(x.c, 0.0);
  for (int64_t i = 0; i < x.pixels(); ++i)
    for (int64_t ch = 0; ch < x.c; ++ch) sums[ch] += x.data[i * x.pitch + ch];
  std::copy(sums.begin(), sums.end(), to);
}

// NaN stays NaN.
void rectify(Map& x) {
  for (float& v : x.data) v = v < 0.0f ? 0.0f : v;
}

void rectified_gradient(Map& grad, const Map& out) {
  for (size_t i = 0; i < grad.data.size(); ++i) grad.data[i] = out.data[i] <= 0.0f ? 0.0f : grad.data[i];
}

// Normalises x in place by groups; returns the scales.
std::vector<float> normalise(Map& x) {
  std::vector<float> scales;
  const double size = x.pixels() * kGroup;
  for (int64_t g = 0; g < x.c; g += kGroup) {
    double sum = 0.0, squares = 0.0;
    for (int64_t p = 0; p < x.pixels(); ++p)
      for (int64_t c = g; c < g + kGroup; ++c) sum += x.data[p * x.pitch + c];
    const double mean = sum / size;
    for (int64_t p = 0; p < x.pixels(); ++p)
      for (int64_t c = g; c < g + kGroup; ++c) {
        const double away = x.data[p * x.pitch + c] - mean;
        squares += away * away;
      }
    const float middle = mean, scale = 1.0 / std::sqrt(squares / size + kEps);
    for (int64_t p = 0; p < x.pixels(); ++p)
      for (int64_t c = g; c < g + kGroup; ++c) {
        float& v = x.data[p * x.pitch + c];
        v = (v - middle) * scale;
      }
    scales.push_back(scale);
  }
  return scales;
}

// The gradient of what was normalised, in place of that of the result.
void normalised_gradient(Map& grad, const Map& normal, const std::vector<float>& scales) {
  const double size = grad.pixels() * kGroup;
  for (int64_t g = 0; g < grad.c; g += kGroup) {
    double sum = 0.0, along = 0.0;
    for (int64_t p = 0; p < grad.pixels(); ++p)
      for (int64_t i = p * grad.pitch + g; i < p * grad.pitch + g + kGroup; ++i)
        sum += grad.data[i], along += grad.data[i] * normal.data[i];
    const float mean = sum / size, slope = along / size, scale = scales[g / kGroup];
    for (int64_t p = 0; p < grad.pixels(); ++p)
      for (int64_t i = p * grad.pitch + g; i < p * grad.pitch + g + kGroup; ++i)
        grad.data[i] = (grad.data[i] - mean - normal.data[i] * slope) * scale;
  }
}

}  // namespace
