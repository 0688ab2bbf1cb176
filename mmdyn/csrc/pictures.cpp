// The operators of mmdyn.ops.pictures on a CPU, in one pass each. What each does is said in the
// reference.py there.

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include "rows.h"

namespace {

using at::Tensor;

constexpr auto kLast = at::MemoryFormat::ChannelsLast;

WIDEST void add_row(float* __restrict__ acc, const float* row, int64_t n) {
  for (int64_t i = 0; i < n; ++i) acc[i] += row[i];
}

WIDEST void add_row(float* __restrict__ acc, const Half* row, int64_t n) {
  for (int64_t i = 0; i < n; ++i) acc[i] += as_float(row[i]);
}

WIDEST void blend(float* __restrict__ out, const float* a, const float* b, float share, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = a[i] * (1.0f - share) + b[i] * share;
}

WIDEST void blend(float* __restrict__ out, const Half* a, const Half* b, float share, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = as_float(a[i]) * (1.0f - share) + as_float(b[i]) * share;
}

WIDEST void blend(Half* out, const float* a, const float* b, float share, int64_t n) {
  uint16_t* bits = reinterpret_cast<uint16_t*>(out);
  for (int64_t i = 0; i < n; ++i) bits[i] = rounded(a[i] * (1.0f - share) + b[i] * share);
}

void blend(double* out, const double* a, const double* b, double share, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = a[i] * (1.0 - share) + b[i] * share;
}

// Rows of an image: of all channels in channels-last memory, of one else.
struct Rows {
  Tensor image;
  int64_t planes, channels;
  bool last;
};

Rows rows_of(const Tensor& image) {
  TORCH_CHECK(image.dim() == 4, "expected an image (N, C, H, W), got ", image.dim(), " dimensions");
  const auto type = image.scalar_type();
  Tensor x = type == at::kFloat || type == at::kBFloat16 ? image : image.to(at::kFloat);
  const bool last = x.is_contiguous(kLast) && x.size(1) <= 8;
  if (!last) x = x.contiguous();
  return {x, last ? x.size(0) : x.size(0) * x.size(1), last ? x.size(1) : 1, last};
}

template <typename T>
void shrink_rows(float* to, const T* from, int64_t planes, int64_t h, int64_t w, int64_t c,
                 int64_t f) {
  const int64_t low = h / f, narrow = w / f;
  at::parallel_for(0, planes * low, 4, [&](int64_t begin, int64_t end) {
    std::vector<float> sums(w * c);
    for (int64_t i = begin; i < end; ++i) {
      std::fill(sums.begin(), sums.end(), 0.0f);
      const T* row = from + ((i / low) * h + (i % low) * f) * w * c;
      for (int64_t k = 0; k < f; ++k) add_row(sums.data(), row + k * w * c, w * c);
      float* out = to + i * narrow * c;
      for (int64_t j = 0; j < narrow; ++j) {
        for (int64_t ch = 0; ch < c; ++ch) {
          float sum = 0.0f;
          for (int64_t k = 0; k < f; ++k) sum += sums[(j * f + k) * c + ch];
          out[j * c + ch] = sum / static_cast<float>(f * f);
        }
      }
    }
  });
}

Tensor shrink(const Tensor& image, int64_t factor) {
  TORCH_CHECK(factor >= 1, "expected a factor of 1 or more, got ", factor);
  const Rows rows = rows_of(image);
  const int64_t h = image.size(2), w = image.size(3);
  Tensor out = at::empty({image.size(0), image.size(1), h / factor, w / factor},
                         image.options().dtype(at::kFloat),
                         rows.last ? kLast : at::MemoryFormat::Contiguous);
  float* to = out.mutable_data_ptr<float>();
  if (rows.image.scalar_type() == at::kFloat) {
    shrink_rows(to, rows.image.const_data_ptr<float>(), rows.planes, h, w, rows.channels, factor);
  } else {
    shrink_rows(to, rows.image.const_data_ptr<Half>(), rows.planes, h, w, rows.channels, factor);
  }
  return out;
}

// The distances of two rows' 2x2 pixels from their means, of channels c, added to one number each.
WIDEST void add_detail(float* __restrict__ to, const float* upper, const float* lower,
                       int64_t pairs, int64_t c) {
  for (int64_t j = 0; j < pairs; ++j) {
    for (int64_t ch = 0; ch < c; ++ch) {
      const int64_t at = 2 * j * c + ch;
      const float p = upper[at], q = upper[at + c], r = lower[at], s = lower[at + c];
      const float mean = ((p + r) + (q + s)) * 0.25f;
      const float left = std::fabs(p - mean) + std::fabs(r - mean);
      to[j] += left + (std::fabs(q - mean) + std::fabs(s - mean));
    }
  }
}

Tensor lost_detail(const Tensor& image) {
  const Rows rows = rows_of(image.to(at::kFloat));
  const int64_t n = image.size(0), c = image.size(1), h = image.size(2), w = image.size(3);
  TORCH_CHECK(h % 2 == 0 && w % 2 == 0, "expected even sides, got ", h, " x ", w);
  Tensor out = at::empty({n, 1, h / 2, w / 2}, rows.image.options(), at::MemoryFormat::Contiguous);
  const float* from = rows.image.const_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
  const int64_t parts = rows.last ? 1 : c, wide = w * rows.channels;
  at::parallel_for(0, n * (h / 2), 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* line = to + i * (w / 2);
      std::fill(line, line + w / 2, 0.0f);
      const int64_t which = i / (h / 2), y = i % (h / 2) * 2;
      for (int64_t k = 0; k < parts; ++k) {
        const float* upper = from + ((which * parts + k) * h + y) * wide;
        add_detail(line, upper, upper + wide, w / 2, rows.channels);
      }
      for (int64_t j = 0; j < w / 2; ++j) line[j] *= 0.25f / static_cast<float>(c);
    }
  });
  return out;
}

// A place of the enlarged axis between two of the window's: the first, and the second's share.
std::pair<int64_t, double> between(int64_t at, int64_t factor) {
  const double place = (at + 0.5) / factor + 0.5;  // one pixel more, half a pixel less
  const int64_t first = static_cast<int64_t>(place);
  return {first, place - first};
}

template <typename T>
void enlarge_rows(T* to, const T* from, int64_t n, int64_t h, int64_t w, int64_t c, int64_t fy,
                  int64_t fx) {
  using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;
  const int64_t tall = (h - 2) * fy, broad = (w - 2) * fx;
  at::parallel_for(0, n * tall, 1, [&](int64_t begin, int64_t end) {
    std::vector<Wide> line(w * c);
    for (int64_t i = begin; i < end; ++i) {
      const auto [y, down] = between(i % tall, fy);
      const T* upper = from + ((i / tall) * h + y) * w * c;
      blend(line.data(), upper, upper + w * c, down, w * c);
      for (int64_t j = 0; j < broad; ++j) {
        const auto [x, right] = between(j, fx);
        const Wide* left = line.data() + x * c;
        blend(to + (i * broad + j) * c, left, left + c, right, c);
      }
    }
  });
}

Tensor enlarge(const Tensor& windows, int64_t rows, int64_t columns) {
  const auto type = windows.scalar_type();
  if (type != at::kFloat && type != at::kBFloat16 && type != at::kDouble) {
    return enlarge(windows.to(at::kFloat), rows, columns).to(type);
  }
  const Tensor x = windows.contiguous(kLast);
  const int64_t n = x.size(0), c = x.size(1), h = x.size(2), w = x.size(3);
  Tensor out = at::empty({n, c, (h - 2) * rows, (w - 2) * columns}, x.options(), kLast);
  const auto run = [&](auto* to, const auto* from) {
    enlarge_rows(to, from, n, h, w, c, rows, columns);
  };
  if (type == at::kDouble) run(out.mutable_data_ptr<double>(), x.const_data_ptr<double>());
  else if (type == at::kFloat) run(out.mutable_data_ptr<float>(), x.const_data_ptr<float>());
  else run(out.mutable_data_ptr<Half>(), x.const_data_ptr<Half>());
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(mmdyn, CPU, m) {
  m.impl("shrink", &shrink);
  m.impl("lost_detail", &lost_detail);
  m.impl("enlarge", &enlarge);
}
