// What is to be multiplied, and where the outputs go.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "places.h"

namespace {

template <typename T>
struct Product {
  Source<T> source;
  const T *packed, *residual;
  const float* bias;
  T* out;
  int64_t outputs, inputs;  // channels; taps times channels
  int64_t pass;             // output channels that are computed together, in lanes; else 0
  bool relu;

  // Where squares of two by two outputs begin in a window; outputs of one lie a dilation apart.
  std::vector<int64_t> down, across;
  int64_t squares() const { return down.size() * across.size(); }
};

// Along one side: all outputs, two by two.
std::vector<int64_t> starts(int64_t side, int64_t dilation) {
  std::vector<int64_t> found;
  for (int64_t phase = 0; phase < std::min(dilation, side); ++phase) {
    for (int64_t at = phase; at < side; at += 2 * dilation) found.push_back(at);
  }
  return found;
}

}  // namespace
