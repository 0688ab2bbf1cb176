// A convolution as the sum over its kernel's taps.

#pragma once

#include <algorithm>
#include <cstring>
#include <memory>

#include "product.h"
#include "tiles.h"

namespace {

constexpr int64_t kChunk = 512;  // inputs (tap and channel) whose weights the cache is to hold
constexpr int64_t kRow = kChunk + 16;
constexpr int64_t kPage = 1024;  // numbers; rows whole pages apart fall on the same few cache lines

// Inputs [from, from + depth) of one tap of some pixels, side by side.
void copy_chunk(const float* const* lines, int64_t from, int64_t depth, int64_t count, float* to, Lines<float>& at) {
  for (int64_t i = 0; i < count; ++i) {
    at[i] = to + i * kRow;
    std::memcpy(to + i * kRow, lines[i] + from, depth * sizeof(float));
  }
}

struct Scratch {
  explicit Scratch(int64_t taps)
      : lines(taps * kBlock), copied(kBlock), pixels(new float[kBlock * kRow]),
        sums(new float[kBlock * kPanel]), added(new float[kBlock * kPanel]) {}
  Lines<float> lines, copied;
  std::unique_ptr<float[]> pixels, sums, added;  // the last two of a panel that is not full
};

// Some channels of a row-wise matrix, as rows of a whole panel or back.
void copy_columns(const float* from, int64_t from_pitch, float* to, int64_t to_pitch, int64_t count,
                  int64_t columns) {
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(to + i * to_pitch, from + i * from_pitch, columns * sizeof(float));
  }
}

#ifdef HAS_TILES

// One chunk of inputs of some pixels times one panel.
template <typename Isa>
void multiply(const Product<float>& p, int64_t panel, int64_t first, int64_t count, Tile t, Scratch& s) {
  const int64_t channel = panel * kPanel, columns = std::min(kPanel, p.outputs - channel);
  float* out = p.out + first * p.outputs + channel;
  const float* added = p.residual ? p.residual + first * p.outputs + channel : nullptr;
  const bool whole = columns % Isa::kWidth == 0;
  if (whole) {
    t.c = out, t.pitch = p.outputs, t.residual = added;
  } else {
    t.c = s.sums.get(), t.pitch = kPanel, t.residual = added ? s.added.get() : nullptr;
    if (t.last && added) copy_columns(added, p.outputs, s.added.get(), kPanel, count, columns);
  }
  if (p.bias) t.bias = p.bias + channel;
  for (int64_t i = 0; i < count; i += Isa::kRows) {
    run_tile<Isa>(std::min<int64_t>(Isa::kRows, count - i), columns, t);
    t.lines += Isa::kRows, t.c += Isa::kRows * t.pitch;
    if (t.residual) t.residual += Isa::kRows * t.pitch;
  }
  if (!whole && t.last) copy_columns(s.sums.get(), kPanel, out, p.outputs, count, columns);
}

// Pixels [begin, end) of panels [low, high).
template <typename Isa>
void run_part(const Product<float>& p, int64_t begin, int64_t end, int64_t low, int64_t high) {
  Scratch s(p.source.taps());
  for (int64_t first = begin; first < end; first += kBlock) {
    const int64_t count = std::min(kBlock, end - first);
    p.source.locate(first, count, s.lines);
    for (int64_t from = 0; from < p.inputs; from += kChunk) {
      Tile whole{};
      whole.lines = s.lines.data(), whole.channels = p.source.channels;
      whole.from = from, whole.depth = std::min(kChunk, p.inputs - from);
      whole.first = from == 0, whole.last = from + whole.depth == p.inputs, whole.relu = p.relu;
      if (p.source.channels % kPage == 0) {
        const int64_t tap = from / p.source.channels, start = from % p.source.channels;
        copy_chunk(s.lines.data() + tap * kBlock, start, whole.depth, count, s.pixels.get(), s.copied);
        whole.lines = s.copied.data(), whole.from = 0;
      }
      for (int64_t panel = low; panel < high; ++panel) {
        Tile t = whole;
        t.b = p.packed + (panel * p.inputs + from) * kPanel;
        multiply<Isa>(p, panel, first, count, t, s);
      }
    }
  }
}

#endif

}  // namespace
