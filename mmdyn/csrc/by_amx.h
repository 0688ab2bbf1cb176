// A convolution of bfloat16 in AMX tiles.

#pragma once

#include <algorithm>
#include <cstring>
#include <memory>

#include "amx.h"
#include "product.h"

namespace {

#ifdef HAS_AMX

// Inputs [from, from + depth) of some pixels, tap by tap, side by side; zeros behind, up to a tile.
void copy_inputs(const Product<Half>& p, const Lines<Half>& lines, int64_t from, int64_t depth,
                 int64_t count, Half* to) {
  const int64_t channels = p.source.channels, padding = -depth & (kStep - 1);
  for (int64_t done = 0; done < depth;) {
    const int64_t tap = (from + done) / channels, first = (from + done) % channels;
    const int64_t length = std::min(depth - done, channels - first);
    for (int64_t i = 0; i < count; ++i) {
      std::memcpy(to + i * kHalfRow + done, lines[tap * kBlock + i] + first, length * sizeof(Half));
    }
    done += length;
  }
  for (int64_t i = 0; padding && i < count; ++i) {
    std::memset(static_cast<void*>(to + i * kHalfRow + depth), 0, padding * sizeof(Half));
  }
}

// Pixels [begin, end) of panels [low, high).
void run_part(const Product<Half>& p, int64_t begin, int64_t end, int64_t low, int64_t high) {
  constexpr int64_t kSums = (kBlock + 31) / 32 * 32 * kPanel;
  Lines<Half> lines(p.source.taps() * kBlock);
  const std::unique_ptr<Half[]> pixels(new Half[(kBlock + 32) * kHalfRow]);
  const std::unique_ptr<float[]> sums(new float[(high - low) * kSums]);
  const int64_t padded = (p.inputs + kStep - 1) / kStep * kStep;
  take_tiles();
  for (int64_t first = begin; first < end; first += kBlock) {
    const int64_t count = std::min(kBlock, end - first);
    p.source.locate(first, count, lines);
    for (int64_t from = 0; from < p.inputs; from += kDepth) {
      const int64_t depth = std::min(kDepth, p.inputs - from);
      copy_inputs(p, lines, from, depth, count, pixels.get());
      for (int64_t panel = low; panel < high; ++panel) {
        float* sum = sums.get() + (panel - low) * kSums;
        const Half* weights = p.packed + (panel * padded + from) * kPanel;
        for (int64_t i = 0; i < count; i += 32) {
          add_product(pixels.get() + i * kHalfRow, weights, depth, sum + i * kPanel, from == 0,
                      count - i <= 16);
        }
        if (from + depth < p.inputs) continue;
        const int64_t channel = panel * kPanel, place = first * p.outputs + channel;
        finish(sum, count, std::min(kPanel, p.outputs - channel), p.bias ? p.bias + channel : nullptr,
               p.residual ? p.residual + place : nullptr, p.out + place, p.outputs, p.relu);
      }
    }
  }
  leave_tiles();
}

#endif

}  // namespace
