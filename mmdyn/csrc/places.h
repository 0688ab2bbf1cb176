// Where the inputs of a convolution over packed blocks lie.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace {

constexpr int64_t kBlock = 112;  // pixels whose places are known at once

template <typename T>
using Lines = std::vector<const T*>;

// Where the inputs of output pixels lie: windows of blocks, or rows that an index names.
template <typename T>
struct Source {
  const T *blocks, *store;
  const int64_t* index;  // (n, halo pixels of a window); of rows (pixels, taps), or null
  int64_t channels, height, width, top, left, window, halo;  // of a block; of a window
  int64_t out_height, out_width, kernel[2], stride[2], dilation[2];
  bool rows;

  int64_t taps() const { return kernel[0] * kernel[1]; }

  const T* row(int64_t place) const { return store + place * channels; }

  // The input of window line y, column x of block n.
  const T* at(int64_t n, int64_t y, int64_t x) const {
    const int64_t inner = y - top, column = x - left;
    const bool beside = inner < 0 || inner >= height;
    if (!beside && column >= 0 && column < width) {
      return blocks + ((n * height + inner) * width + column) * channels;
    }
    int64_t place = y * window + x - std::min(std::max<int64_t>(inner, 0), height) * width;
    if (!beside && column >= width) place -= width;
    place += n * halo;
    return row(index ? index[place] : place);
  }

  // For pixels [first, first + count): lines[tap * kBlock + i].
  void locate(int64_t first, int64_t count, Lines<T>& lines) const {
    if (rows) {
      for (int64_t i = 0; i < count; ++i) {
        for (int64_t t = 0; t < taps(); ++t) {
          lines[t * kBlock + i] = row(index ? index[(first + i) * taps() + t] : first + i);
        }
      }
      return;
    }
    const int64_t area = out_height * out_width;
    int64_t n = first / area, y = first % area / out_width, x = first % out_width;
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t v = 0, t = 0; v < kernel[0]; ++v) {
        for (int64_t u = 0; u < kernel[1]; ++u, ++t) {
          lines[t * kBlock + i] =
              at(n, y * stride[0] + v * dilation[0], x * stride[1] + u * dilation[1]);
        }
      }
      if (++x == out_width) x = 0, ++y;
      if (y == out_height) y = 0, ++n;
    }
  }
};

}  // namespace
