// A 3x3 convolution in squares of two by two outputs, for few channels: a register holds one channel of
// many squares, so that it is full whatever the number of channels is.

#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "lane_steps.h"
#include "product.h"
#include "tiles.h"
#include "winograd.h"

namespace {

#ifdef HAS_TILES

// Numbers whose registers cross no cache lines.
class Aligned {
 public:
  explicit Aligned(int64_t count) : lines_(new Line[(count + 15) / 16]) {}
  float* get() const { return lines_[0].numbers; }

 private:
  struct alignas(64) Line { float numbers[16]; };
  std::unique_ptr<Line[]> lines_;
};

// Whole rows of a window's squares, a few registers of them.
template <typename Isa>
struct Strip {
  static constexpr int64_t kWidth = Isa::kWidth, kVectors = 4;

  // Rows of squares; squares and pixels of a row; outputs of a pass.
  explicit Strip(const Product<float>& p)
      : wide(p.across.size()), run(run_of(wide)), rows(rows_of(p)), pitch(wide + 1),
        slots((2 * rows + 2) * 2 * pitch), line((slots + kWidth - 1) / kWidth * kWidth + kWidth),
        plane((p.source.channels | 1) * kWidth), zeros(std::max(p.source.channels, p.pass)), pixels(line, zeros.data()), planes(p.source.channels * line),
        inputs(kPlanes * plane),
        products(kPlanes * p.pass * kWidth), sums(4 * p.pass * kWidth) {}

  // The longest run of squares that lie side by side, in every register.
  static int64_t run_of(int64_t wide) {
    int64_t run = kWidth;
    while (wide % run) run /= 2;
    return run;
  }
  static int64_t rows_of(const Product<float>& p) {
    return std::clamp<int64_t>(kVectors * kWidth / p.across.size(), 1, p.down.size());
  }
  static int64_t strips_of(const Product<float>& p) { return (p.down.size() + rows_of(p) - 1) / rows_of(p); }

  int64_t wide, run, rows, pitch, slots, line, plane;
  std::vector<float> zeros;  // what lies outside a window; a bias that there is not
  Lines<float> pixels;       // by row, even columns and then odd ones
  Aligned planes, inputs, products, sums;

  // `count` rows of squares of window n, from `first` on.
  void find(const Product<float>& p, int64_t n, int64_t first, int64_t count) {
    const int64_t height = p.source.out_height + 2, width = p.source.out_width + 2;
    const float** to = pixels.data();
    for (int64_t y = 2 * first; y < 2 * (first + count) + 2; ++y) {
      for (int64_t odd = 0; odd < 2; ++odd) {
        for (int64_t x = odd; x < 2 * pitch; x += 2) {
          *to++ = y < height && x < width ? p.source.at(n, y, x) : zeros.data();
        }
      }
    }
    std::fill(to, pixels.data() + line, zeros.data());
  }
};

template <typename Isa, int R = Isa::kLanes>
void multiply_lanes(int64_t pass, const MultiplyLanes& work) {
  if constexpr (R > 1) {
    if (pass < R) return multiply_lanes<Isa, R - 1>(pass, work);
  }
  InLanes<Isa>::template run<R>(work);
}

// A register of squares of window n, `first` counted from the strip's first, which is `before` of the window.
template <typename Isa>
void run_lanes(const Product<float>& p, Strip<Isa>& s, int64_t n, int64_t before, int64_t first) {
  constexpr int64_t kWidth = Isa::kWidth;
  int64_t starts[kWidth / kFewest + 1], places[4][kWidth];
  const int64_t runs = kWidth / s.run, height = p.source.out_height, width = p.source.out_width;
  const int64_t squares = p.squares();
  for (int64_t i = 0; i < kWidth; ++i) {
    const int64_t k = before + first + i, y = 2 * (k / s.wide), x = 2 * (k % s.wide);
    for (int64_t four = 0; four < 4; ++four) {
      const int64_t down = y + four / 2, across = x + four % 2;
      const bool inside = k < squares && down < height && across < width;
      places[four][i] = inside ? ((n * height + down) * width + across) * p.outputs : -1;
    }
  }
  for (int64_t i = 0; i < runs; ++i) {
    const int64_t k = std::min(first + i * s.run, s.rows * s.wide - s.run);  // beyond: any squares
    starts[i] = k / s.wide * 4 * s.pitch + k % s.wide;
  }
  const int64_t channels = p.source.channels;
  const TransformPlanes before_products{s.planes.get(), starts, channels, s.line, s.pitch, s.plane, s.inputs.get()};
  if (runs == 1) InLanes<Isa>::template run<1>(before_products);
  if (runs == 2) InLanes<Isa>::template run<2>(before_products);
  if constexpr (kWidth / kFewest == 4) {
    if (runs == 4) InLanes<Isa>::template run<4>(before_products);
  }
  for (int64_t channel = 0; channel < p.outputs; channel += p.pass) {
    const float* weight = p.packed + channel * kPlanes * channels;
    multiply_lanes<Isa>(p.pass, {s.inputs.get(), weight, channels, s.plane, s.products.get()});
    InLanes<Isa>::run(TransformLanes{s.products.get(), p.bias ? p.bias + channel : s.zeros.data(), p.pass,
                                     s.sums.get()});
    for (int64_t four = 0; four < 4; ++four) {
      InLanes<Isa>::run(FinishLanes{s.sums.get() + four * p.pass * kWidth, places[four],
                                    std::min(p.pass, p.outputs - channel),
                                    p.residual ? p.residual + channel : nullptr, p.out + channel, p.relu});
    }
  }
}

// Strips [begin, end) of all windows.
template <typename Isa>
void run_strips(const Product<float>& p, int64_t begin, int64_t end) {
  Strip<Isa> s(p);
  const int64_t tall = p.down.size(), strips = s.strips_of(p);
  for (int64_t strip = begin; strip < end; ++strip) {
    const int64_t n = strip / strips, first = strip % strips * s.rows;
    const int64_t count = std::min(s.rows, tall - first);
    s.find(p, n, first, count);
    InLanes<Isa>::run(TurnPixels{s.pixels.data(), s.slots, p.source.channels, s.line, s.planes.get()});
    for (int64_t i = 0; i < count * s.wide; i += Isa::kWidth) run_lanes<Isa>(p, s, n, first * s.wide, i);
  }
}

#endif

}  // namespace
