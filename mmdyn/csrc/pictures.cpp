// The operators of mmdyn.ops.pictures on a CPU, in one pass each. What each does is said in the
// reference.py there.

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <tuple>
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

// What is summed up along the columns of some rows; all numbers lie `c` channels to a pixel.
struct Columns {
  explicit Columns(int64_t wide) : sums(wide), away(wide), first(wide), second(wide), upper(wide), lower(wide) {}
  std::vector<float> sums, away;    // of a row of patches
  std::vector<float> first, second; // powers of every second row, less the shift
  std::vector<float> upper, lower;  // two rows in float32
};

// Two rows: their numbers, and how far they are from the mean of their 2x2 pixels. The latter is
// right where a pixel is the left one of two; to compute it everywhere is faster than to choose.
WIDEST void add_pair(float* __restrict__ sums, float* __restrict__ away, const float* upper,
                     const float* lower, int64_t n, int64_t c) {
  for (int64_t i = 0; i < n; ++i) sums[i] += upper[i] + lower[i];
  for (int64_t i = 0; i < n - c; ++i) {
    const float p = upper[i], q = upper[i + c], r = lower[i], s = lower[i + c];
    const float mean = ((p + r) + (q + s)) * 0.25f;
    const float left = std::fabs(p - mean) + std::fabs(r - mean);
    away[i] += left + (std::fabs(q - mean) + std::fabs(s - mean));
  }
}

WIDEST void add_powers(float* __restrict__ first, float* __restrict__ second, const float* row,
                       float shift, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float value = row[i] - shift;
    first[i] += value;
    second[i] += value * value;
  }
}

const float* in_float(const float* row, std::vector<float>&, int64_t) { return row; }

const float* in_float(const Half* row, std::vector<float>& to, int64_t n) {
  std::transform(row, row + n, to.begin(), as_float);
  return to.data();
}

// One row of patches, of the channels that lie together: their means, and their detail added to
// one number each.
template <typename T>
void look_at_patches(float* means, float* detail, const T* rows, int64_t w, int64_t c, int64_t step,
                     float shift, Columns& s) {
  const int64_t wide = w * c, narrow = w / step;
  std::fill(s.sums.begin(), s.sums.end(), 0.0f);
  std::fill(s.away.begin(), s.away.end(), 0.0f);
  for (int64_t y = 0; y < step; y += 2) {
    const float* upper = in_float(rows + y * wide, s.upper, wide);
    const float* lower = in_float(rows + (y + 1) * wide, s.lower, wide);
    add_pair(s.sums.data(), s.away.data(), upper, lower, wide, c);
    add_powers(s.first.data(), s.second.data(), upper, shift, wide);
  }
  const float area = static_cast<float>(step * step);
  for (int64_t j = 0; j < narrow; ++j) {
    for (int64_t ch = 0; ch < c; ++ch) {
      float sum = 0.0f, far = 0.0f;
      for (int64_t x = j * step; x < (j + 1) * step; x += 2) {
        far += s.away[x * c + ch];
        sum += s.sums[x * c + ch] + s.sums[(x + 1) * c + ch];
      }
      means[j * c + ch] = sum / area, detail[j] += far;
    }
  }
}

constexpr int64_t kTogether = 8;  // rows of patches whose numbers are summed up as one

// Mean and standard deviation from sums of powers, those of some rows of patches each.
void write_moments(float* to, const double* powers, int64_t parts, double count, float shift) {
  double first = 0.0, second = 0.0;
  for (int64_t i = 0; i < parts; ++i) first += powers[2 * i], second += powers[2 * i + 1];
  to[0] = static_cast<float>(shift + first / count);
  const double left = second - first * first / count;  // NaN stays NaN
  to[1] = static_cast<float>(std::sqrt((left < 0.0 ? 0.0 : left) / (count - 1.0)));
}

template <typename T>
void run_patches(const Rows& rows, Tensor& means, Tensor& detail, Tensor& moments, int64_t step) {
  const int64_t n = detail.size(0), low = detail.size(2), narrow = detail.size(3);
  const int64_t h = low * step, w = narrow * step, c = rows.channels, parts = rows.planes / n;
  const int64_t groups = (low + kTogether - 1) / kTogether;
  const float scale = 1.0f / static_cast<float>(step * step * c * parts);
  const T* from = rows.image.const_data_ptr<T>();
  float* small = means.mutable_data_ptr<float>();
  float* far = detail.mutable_data_ptr<float>();
  std::vector<double> powers(n * groups * 2);
  const auto shift_of = [&](int64_t image) { return static_cast<float>(from[image * parts * h * w * c]); };
  at::parallel_for(0, n * groups, 1, [&](int64_t begin, int64_t end) {
    Columns s(w * c);
    for (int64_t group = begin; group < end; ++group) {
      const int64_t image = group / groups, top = group % groups * kTogether;
      std::fill(s.first.begin(), s.first.end(), 0.0f);
      std::fill(s.second.begin(), s.second.end(), 0.0f);
      for (int64_t y = top; y < std::min(low, top + kTogether); ++y) {
        float* line = far + (image * low + y) * narrow;
        std::fill(line, line + narrow, 0.0f);
        for (int64_t plane = image * parts; plane < (image + 1) * parts; ++plane) {
          look_at_patches(small + (plane * low + y) * narrow * c, line,
                          from + (plane * h + y * step) * w * c, w, c, step, shift_of(image), s);
        }
        for (int64_t j = 0; j < narrow; ++j) line[j] *= scale;
      }
      for (int64_t x = 0; x < w; x += 2) {
        for (int64_t i = x * c; i < (x + 1) * c; ++i) {
          powers[2 * group] += s.first[i], powers[2 * group + 1] += s.second[i];
        }
      }
    }
  });
  for (int64_t image = 0; image < n; ++image) {
    write_moments(moments.mutable_data_ptr<float>() + 2 * image, powers.data() + image * groups * 2, groups,
                  static_cast<double>(h / 2 * (w / 2) * c * parts), shift_of(image));
  }
}

std::tuple<Tensor, Tensor, Tensor> patch_statistics(const Tensor& image, int64_t step) {
  const Rows rows = rows_of(image);
  const int64_t n = image.size(0), c = image.size(1), h = image.size(2), w = image.size(3);
  TORCH_CHECK(step >= 2 && step % 2 == 0 && h % step == 0 && w % step == 0 && image.numel(),
              "expected sides that an even step divides, got ", h, " x ", w, " and ", step);
  const auto options = image.options().dtype(at::kFloat);
  const auto memory = rows.last ? kLast : at::MemoryFormat::Contiguous;
  Tensor means = at::empty({n, c, h / step, w / step}, options, memory);
  Tensor detail = at::empty({n, 1, h / step, w / step}, options, at::MemoryFormat::Contiguous);
  Tensor moments = at::empty({n, 2}, options);
  if (rows.image.scalar_type() == at::kFloat) run_patches<float>(rows, means, detail, moments, step);
  else run_patches<Half>(rows, means, detail, moments, step);
  return {means, detail, moments};
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
  m.impl("patch_statistics", &patch_statistics);
  m.impl("enlarge", &enlarge);
}
