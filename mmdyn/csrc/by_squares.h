// A 3x3 convolution in squares of two by two outputs, by Winograd's filtering.

#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "product.h"
#include "tiles.h"
#include "winograd.h"

namespace {

#ifdef HAS_TILES

constexpr int64_t kInputs = 18724;  // of one product, in a block: the second-level cache holds sixteen

// A block of squares of two by two outputs: the inputs of its products, and the products of a panel.
struct Squares {
  explicit Squares(int64_t channels)
      : pitch(channels + 16), count(std::clamp<int64_t>(kInputs / channels / 14 * 14, 28, 112)),
        zeros(channels), inputs(new float[kPlanes * count * pitch]),
        products(new float[kPlanes * count * kPanel]), lines(kPlanes * count) {
    for (int64_t i = 0; i < kPlanes * count; ++i) lines[i] = inputs.get() + i * pitch;
  }
  int64_t pitch, count;
  std::vector<float> zeros;  // what lies outside a window
  std::unique_ptr<float[]> inputs, products;
  Lines<float> lines;
};

// Square `k` of all windows, as input `i` of the block.
void transform_square(const Product<float>& p, int64_t k, int64_t i, Squares& s) {
  const int64_t n = k / p.squares(), wide = p.across.size();
  const int64_t y = p.down[k % p.squares() / wide], x = p.across[k % wide];
  const int64_t *step = p.source.dilation, height = p.source.out_height + 2 * step[0];
  const int64_t width = p.source.out_width + 2 * step[1];
  const float* pixels[kPlanes];
  for (int64_t v = 0; v < kSide; ++v) {
    for (int64_t u = 0; u < kSide; ++u) {
      const int64_t row = y + v * step[0], column = x + u * step[1];
      const bool inside = row < height && column < width;
      pixels[v * kSide + u] = inside ? p.source.at(n, row, column) : s.zeros.data();
    }
  }
  transform_pixels(pixels, s.inputs.get() + i * s.pitch, s.count * s.pitch, p.source.channels);
}

// The four outputs of square `k`, where they lie in the window.
void finish_square(const Product<float>& p, int64_t k, int64_t i, int64_t channel, const float* bias,
                   const Squares& s) {
  float four[4 * kWidest];
  transform_products(s.products.get() + i * kPanel, s.count * kPanel, bias, four);
  const int64_t n = k / p.squares(), wide = p.across.size();
  const int64_t *step = p.source.dilation, height = p.source.out_height, width = p.source.out_width;
  for (int64_t v = 0; v < 2; ++v) {
    for (int64_t u = 0; u < 2; ++u) {
      const int64_t y = p.down[k % p.squares() / wide] + v * step[0], x = p.across[k % wide] + u * step[1];
      if (y >= height || x >= width) continue;
      const int64_t place = ((n * height + y) * width + x) * p.outputs + channel;
      finish_pixel(four + (2 * v + u) * kWidest, p.residual ? p.residual + place : nullptr,
                   p.out + place, std::min(kPanel, p.outputs - channel), p.relu);
    }
  }
}

// Squares [begin, end) of panels [low, high).
template <typename Isa>
void run_squares(const Product<float>& p, int64_t begin, int64_t end, int64_t low, int64_t high) {
  const int64_t channels = p.source.channels;
  Squares s(channels);
  const std::vector<float> nothing(kPanel);
  for (int64_t first = begin; first < end; first += s.count) {
    const int64_t count = std::min(s.count, end - first);
    for (int64_t i = 0; i < count; ++i) transform_square(p, first + i, i, s);
    for (int64_t panel = low; panel < high; ++panel) {
      const int64_t channel = panel * kPanel, columns = std::min(kPanel, p.outputs - channel);
      for (int64_t plane = 0; plane < kPlanes; ++plane) {
        for (int64_t i = 0; i < count; i += Isa::kRows) {
          Tile t{};
          t.lines = s.lines.data() + plane * s.count + i, t.channels = t.depth = channels;
          t.b = p.packed + (panel * kPlanes + plane) * channels * kPanel;
          t.c = s.products.get() + (plane * s.count + i) * kPanel, t.pitch = kPanel;
          t.first = t.last = true;
          run_tile<Isa>(std::min<int64_t>(Isa::kRows, count - i), columns, t);
        }
      }
      const float* bias = p.bias ? p.bias + channel : nothing.data();
      for (int64_t i = 0; i < count; ++i) finish_square(p, first + i, i, channel, bias, s);
    }
  }
}

#endif

}  // namespace
