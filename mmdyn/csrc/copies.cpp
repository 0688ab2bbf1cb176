// The copies and sums of mmdyn.ops.windows and mmdyn.ops.cells on a CPU, and depthwise convolutions by taps of
// mmdyn.ops.conv: whole rows at a time, in one pass.
// What each does is said in the reference.py of its folder; arguments are checked there and above.

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "rows.h"

namespace {

using at::Tensor;

Tensor channels_last(const Tensor& x) {
  return x.contiguous(at::MemoryFormat::ChannelsLast);
}

void check_types(const Tensor& from, const Tensor& to) {
  TORCH_CHECK(from.scalar_type() == to.scalar_type(), "expected blocks and what they are copied ",
              "from or to of one type, got ", from.scalar_type(), " and ", to.scalar_type(),
              "; convert one of them");
}

const char* bytes_of(const Tensor& x) {
  return static_cast<const char*>(x.const_data_ptr());
}

// Items for one thread, so that each copies about 64 KiB.
int64_t grain(int64_t bytes) {
  return std::max<int64_t>(1, 65536 / std::max<int64_t>(bytes, 1));
}

// Blocks (n, C, bh, bw) with halo pixels from rows index (n, L) of the store, in raster order; from
// an index (n, L, 4), the means of four rows.
Tensor gather_windows(const Tensor& blocks, const Tensor& store, const Tensor& index,
                      const Tensor& places, at::IntArrayRef halo) {
  check_types(blocks, store);
  const int64_t n = blocks.size(0), c = blocks.size(1), bh = blocks.size(2), bw = blocks.size(3);
  const int64_t top = halo[0], bottom = halo[1], left = halo[2], right = halo[3];
  const int64_t height = top + bh + bottom, width = left + bw + right;
  const Tensor source = channels_last(blocks);
  Tensor rows = store.contiguous(), at = index.contiguous();
  const bool means = index.dim() == 3, floats = store.scalar_type() == at::kFloat;
  const bool halves = store.scalar_type() == at::kBFloat16, together = floats || halves;
  if (means && !together) {
    rows = rows.index_select(0, at.reshape({-1})).view({-1, 4, c}).mean(1);
    at = at::arange(rows.size(0), at.options());
  }
  Tensor out = at::empty({n, height, width, c}, blocks.options());
  const int64_t pixel = c * blocks.element_size(), count = height * width - bh * bw;
  const char *from = bytes_of(source), *ring = bytes_of(rows);
  const int64_t* picked = at.const_data_ptr<int64_t>();
  char* to = static_cast<char*>(out.mutable_data_ptr());
  const auto mean = [&]<typename T>(T* target, int64_t k) {
    const auto row = [&](int64_t i) {
      return reinterpret_cast<const T*>(ring + picked[k + i] * pixel);
    };
    mean_of_four(target, row(0), row(1), row(2), row(3), c);
  };
  const auto copy = [&](char* line, int64_t first, int64_t pixels) {
    for (int64_t i = 0; means && together && i < pixels; ++i) {
      char* target = line + i * pixel;
      if (floats) mean(reinterpret_cast<float*>(target), 4 * (first + i));
      else mean(reinterpret_cast<Half*>(target), 4 * (first + i));
    }
    if (means && together) return;
    for (int64_t i = 0; i < pixels; ++i) {
      std::memcpy(line + i * pixel, ring + picked[first + i] * pixel, pixel);
    }
  };
  at::parallel_for(0, n * height, grain(width * pixel), [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      const int64_t block = line / height, y = line % height;
      char* target = to + line * width * pixel;
      const int64_t inside = std::min(std::max<int64_t>(y - top, 0), bh);
      const int64_t first = block * count + y * width - inside * bw;
      if (y < top || y >= top + bh) {
        copy(target, first, width);
        continue;
      }
      copy(target, first, left);
      std::memcpy(target + left * pixel, from + (block * bh + y - top) * bw * pixel, bw * pixel);
      copy(target + (left + bw) * pixel, first + left, right);
    }
  });
  return out.permute({0, 3, 1, 2});
}

// Ring pixels of each block to rows of the store.
void write_ring(Tensor& store, const Tensor& rows, const Tensor& blocks,
                const std::optional<Tensor>& ring) {
  check_types(blocks, store);
  const int64_t n = blocks.size(0), area = blocks.size(2) * blocks.size(3);
  if (n == 0) return;
  TORCH_CHECK(store.is_contiguous(), "the store must be contiguous");
  const Tensor source = channels_last(blocks), at = rows.contiguous();
  const Tensor places = ring ? ring->contiguous() : Tensor();
  const int64_t pixel = blocks.size(1) * blocks.element_size(), count = at.numel() / n;
  const int64_t* place = ring ? places.const_data_ptr<int64_t>() : nullptr;
  const int64_t* row = at.const_data_ptr<int64_t>();
  const char* from = bytes_of(source);
  char* to = static_cast<char*>(store.mutable_data_ptr());
  at::parallel_for(0, n * count, grain(pixel), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t block = i / count, p = place ? place[i % count] : i % count;
      std::memcpy(to + row[i] * pixel, from + (block * area + p) * pixel, pixel);
    }
  });
}

// Rows of a channels-last map, `width` pixels each, to a packed batch.
Tensor gather_cells(const Tensor& dense, const Tensor& lines, int64_t width) {
  const Tensor source = channels_last(dense), at = lines.contiguous();
  const int64_t n = lines.size(0), bh = lines.size(1), c = dense.size(1);
  Tensor out = at::empty({n, bh, width, c}, dense.options());
  const int64_t length = width * c * dense.element_size();
  const int64_t* line = at.const_data_ptr<int64_t>();
  const char* from = bytes_of(source);
  char* to = static_cast<char*>(out.mutable_data_ptr());
  at::parallel_for(0, n * bh, grain(length), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      std::memcpy(to + i * length, from + line[i] * length, length);
    }
  });
  return out.permute({0, 3, 1, 2});
}

// The same rows back.
void scatter_cells(Tensor& dense, const Tensor& lines, const Tensor& blocks) {
  check_types(blocks, dense);
  TORCH_CHECK(dense.is_contiguous(at::MemoryFormat::ChannelsLast), "the map must be channels-last");
  const Tensor source = channels_last(blocks), at = lines.contiguous();
  const int64_t length = blocks.size(3) * blocks.size(1) * blocks.element_size();
  const int64_t* line = at.const_data_ptr<int64_t>();
  const char* from = bytes_of(source);
  char* to = static_cast<char*>(dense.mutable_data_ptr());
  at::parallel_for(0, at.numel(), grain(length), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      std::memcpy(to + line[i] * length, from + i * length, length);
    }
  });
}

// to = to + from, rectified or not; NaN stays NaN, as in torch.
template <typename T>
inline void add_row_of(T* __restrict__ to, const T* __restrict__ from, int64_t n, bool relu) {
  for (int64_t i = 0; i < n; ++i) {
    const T sum = to[i] + from[i];
    to[i] = relu && sum < 0 ? T(0) : sum;
  }
}

WIDEST void add_row(float* to, const float* from, int64_t n, bool relu) { add_row_of(to, from, n, relu); }

WIDEST void add_row(double* to, const double* from, int64_t n, bool relu) { add_row_of(to, from, n, relu); }

WIDEST void add_row(Half* __restrict__ to, const Half* __restrict__ from, int64_t n, bool relu) {
  for (int64_t i = 0; i < n; ++i) {
    const float sum = as_float(to[i]) + as_float(from[i]);
    to[i].x = rounded(relu && sum < 0 ? 0.0f : sum);
  }
}

template <typename T>
void add_all(Tensor& rows, const Tensor& index, const Tensor& values, bool relu) {
  const int64_t c = rows.size(1), count = rows.size(0);
  const int64_t* row = index.const_data_ptr<int64_t>();
  const T* from = values.const_data_ptr<T>();
  T* to = rows.mutable_data_ptr<T>();
  at::parallel_for(0, index.numel(), grain(c * sizeof(T)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      TORCH_CHECK(row[i] >= 0 && row[i] < count, "expected rows below ", count, ", got ", row[i]);
      add_row(to + row[i] * c, from + i * c, c, relu);
    }
  });
}

// Sums into some rows.
void add_rows(Tensor& rows, const Tensor& index, const Tensor& values, bool relu) {
  check_types(values, rows);
  TORCH_CHECK(rows.dim() == 2 && rows.is_contiguous() && index.scalar_type() == at::kLong &&
                  values.dim() == 2 && values.size(0) == index.numel() && values.size(1) == rows.size(1),
              "expected contiguous rows (R, C), an int64 index (M,) and values (M, C), got ",
              rows.sizes(), ", ", index.sizes(), " and ", values.sizes());
  const Tensor at = index.contiguous(), from = values.contiguous();
  switch (rows.scalar_type()) {
    case at::kFloat: return add_all<float>(rows, at, from, relu);
    case at::kDouble: return add_all<double>(rows, at, from, relu);
    case at::kBFloat16: return add_all<Half>(rows, at, from, relu);
    default: {
      Tensor sums = rows.index_select(0, at).add_(from);
      if (relu) sums.relu_();
      rows.index_copy_(0, at, sums);
    }
  }
}

// acc += s * w, in the widest registers that the processor has.
WIDEST void add_products(float* __restrict__ acc, const float* __restrict__ s,
                         const float* __restrict__ w, int64_t n) {
  for (int64_t i = 0; i < n; ++i) acc[i] += s[i] * w[i];
}

WIDEST void add_products(double* __restrict__ acc, const double* __restrict__ s,
                         const double* __restrict__ w, int64_t n) {
  for (int64_t i = 0; i < n; ++i) acc[i] += s[i] * w[i];
}

WIDEST void add_products(float* __restrict__ acc, const Half* s, const float* w, int64_t n) {
  for (int64_t i = 0; i < n; ++i) acc[i] += as_float(s[i]) * w[i];
}

WIDEST void round_to(Half* to, const float* from, int64_t n) {
  uint16_t* bits = reinterpret_cast<uint16_t*>(to);
  for (int64_t i = 0; i < n; ++i) bits[i] = rounded(from[i]);
}

// Sums over taps; T is the type of the store and the result, Sum that of the arithmetic.
template <typename T, typename Sum>
void sum_taps(T* to, const T* from, const int64_t* picked, const Sum* w, const Sum* first,
              bool relu, int64_t count, int64_t taps, int64_t c) {
  constexpr bool in_place = std::is_same_v<T, Sum>;
  at::parallel_for(0, count, grain(taps * c * sizeof(T)), [&](int64_t begin, int64_t end) {
    std::vector<Sum> scratch(in_place ? 0 : c);
    for (int64_t m = begin; m < end; ++m) {
      Sum* acc;
      if constexpr (in_place) acc = to + m * c;
      else acc = scratch.data();
      if (first) std::memcpy(acc, first, c * sizeof(Sum));
      else std::memset(acc, 0, c * sizeof(Sum));
      for (int64_t t = 0; t < taps; ++t) {
        add_products(acc, from + picked[m * taps + t] * c, w + t * c, c);
      }
      // NaN stays NaN, as in torch.
      if (relu) std::transform(acc, acc + c, acc, [](Sum v) { return v < 0 ? Sum(0) : v; });
      if constexpr (!in_place) round_to(to + m * c, acc, c);
    }
  });
}

template <typename T, typename Sum>
Tensor taps_of(const Tensor& store, const Tensor& index, const Tensor& weight,
               const std::optional<Tensor>& bias, bool relu) {
  const auto type = c10::CppTypeToScalarType<Sum>::value;
  const Tensor source = store.contiguous(), at = index.contiguous();
  const Tensor kernel = weight.to(type).contiguous();
  const Tensor start = bias ? bias->to(type).contiguous() : Tensor();
  const int64_t count = index.size(0), taps = index.size(1), c = store.size(1);
  Tensor out = at::empty({count, c}, store.options());
  sum_taps<T, Sum>(out.mutable_data_ptr<T>(), source.const_data_ptr<T>(),
                   at.const_data_ptr<int64_t>(), kernel.const_data_ptr<Sum>(),
                   bias ? start.const_data_ptr<Sum>() : nullptr, relu, count, taps, c);
  return out;
}

// A depthwise convolution as a sum over taps: row index(m, t) of the store times weight(t). float64
// is summed in float64, every other type in float32.
Tensor depthwise_taps(const Tensor& store, const Tensor& index, const Tensor& weight,
                      const std::optional<Tensor>& bias, bool relu) {
  switch (store.scalar_type()) {
    case at::kFloat: return taps_of<float, float>(store, index, weight, bias, relu);
    case at::kBFloat16: return taps_of<Half, float>(store, index, weight, bias, relu);
    case at::kDouble: return taps_of<double, double>(store, index, weight, bias, relu);
    default:
      return taps_of<float, float>(store.to(at::kFloat), index, weight, bias, relu)
          .to(store.scalar_type());
  }
}

}  // namespace

TORCH_LIBRARY_IMPL(mmdyn, CPU, m) {
  m.impl("gather_windows", &gather_windows);
  m.impl("write_ring", &write_ring);
  m.impl("gather_cells", &gather_cells);
  m.impl("scatter_cells", &scatter_cells);
  m.impl("add_rows", &add_rows);
  m.impl("depthwise_taps", &depthwise_taps);
}
