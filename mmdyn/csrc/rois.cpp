// RoIAlign on a CPU (mmdyn/ops/rois/reference.py says what it is): all channels of a pixel at once,
// where mmcv's takes one number after the other of a map in the order of its shape.
//
// The weights of a bin's samples are summed up per row and per column first: samples share pixels.

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "rows.h"

namespace {

using at::Tensor;

struct Share {
  int64_t place;  // row or column
  float weight;
};

constexpr double kMost = 2147483648.0;  // pixels of a bin; with as many, none counts for anything

// Along one side of a region: the pixels of each bin, and what each counts.
struct Side {
  std::vector<Share> shares;
  std::vector<int64_t> ends;  // of each bin's, in `shares`
  std::vector<float> sums;    // of a bin, by place

  void fill(float start, float side, int64_t bins, int64_t sampling, int64_t length) {
    const float step = side / static_cast<float>(bins);
    const float pixels = step > 0.0f && step < kMost ? std::ceil(step) : 0.0f;
    const int64_t count = sampling > 0 ? sampling : static_cast<int64_t>(pixels);
    shares.clear(), ends.clear();
    sums.resize(length);
    for (int64_t bin = 0; bin < bins; ++bin) {
      int64_t low = 0, high = -1;  // whose sums were begun
      const auto [from, to] = near(start + bin * step, step, count, length);
      for (int64_t i = from; i < to; ++i) {
        const float at = start + bin * step + (i + 0.5f) * step / count;  // in the order of mmcv's
        if (!(at >= -1.0f && at <= length)) continue;
        const float place = std::min(std::max(at, 0.0f), length - 1.0f);
        const int64_t first = static_cast<int64_t>(place), second = std::min(first + 1, length - 1);
        if (high < 0) low = first, high = first - 1;
        for (; low > first;) sums[--low] = 0.0f;
        for (; high < second;) sums[++high] = 0.0f;
        const float right = place - first;
        sums[first] += (1.0f - right) / count;
        sums[second] += right / count;
      }
      for (int64_t p = low; p <= high; ++p) {
        if (sums[p] != 0.0f) shares.push_back({p, sums[p]});
      }
      ends.push_back(static_cast<int64_t>(shares.size()));
    }
  }

  // The samples of a bin that may lie on the map: a region may be a million times as large.
  static std::pair<int64_t, int64_t> near(double start, double step, int64_t count, int64_t length) {
    if (!(step > 0.0 && step < kMost)) return {0, count};
    const double ends[] = {(-1.0 - start) / step * count - 2.0, (length - start) / step * count + 2.0};
    const auto within = [&](double i) { return static_cast<int64_t>(std::clamp(i, 0.0, double(count))); };
    return {within(ends[0]), within(ends[1])};
  }

  const Share* begin(int64_t bin) const { return shares.data() + (bin ? ends[bin - 1] : 0); }
  const Share* end(int64_t bin) const { return shares.data() + ends[bin]; }
};

inline float number(float value) { return value; }
inline float number(Half value) { return as_float(value); }

template <typename T>
inline void sum_up(float* __restrict__ to, const T* const* rows, const float* weights, int64_t count, int64_t n) {
  std::fill(to, to + n, 0.0f);
  int64_t k = 0;
  for (; k + 4 <= count; k += 4) {
    const T *a = rows[k], *b = rows[k + 1], *c = rows[k + 2], *d = rows[k + 3];
    const float e = weights[k], f = weights[k + 1], g = weights[k + 2], h = weights[k + 3];
    for (int64_t i = 0; i < n; ++i) {
      to[i] += (number(a[i]) * e + number(b[i]) * f) + (number(c[i]) * g + number(d[i]) * h);
    }
  }
  for (; k < count; ++k) {
    for (int64_t i = 0; i < n; ++i) to[i] += number(rows[k][i]) * weights[k];
  }
}

WIDEST void weighted(float* to, const float* const* rows, const float* weights, int64_t count, int64_t n) {
  sum_up(to, rows, weights, count, n);
}

WIDEST void weighted(float* to, const Half* const* rows, const float* weights, int64_t count, int64_t n) {
  sum_up(to, rows, weights, count, n);
}

void put(float* to, float value) { *to = value; }
void put(Half* to, float value) { to->x = rounded(value); }

// Numbers (rows, columns) the other way round.
template <typename T>
void turn(T* to, const float* from, int64_t rows, int64_t columns) {
  constexpr int64_t kSide = 16;
  for (int64_t c = 0; c < columns; c += kSide) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = c; i < std::min(columns, c + kSide); ++i) put(to + i * rows + r, from[r * columns + i]);
    }
  }
}

struct Place {
  int64_t images, channels, height, width, rows, columns, sampling;  // the last three: of the bins
  double scale;
  bool aligned;
};

template <typename T>
struct Region {
  Side down, across;
  std::vector<const T*> pixels;
  std::vector<float> weights, sums;

  void run(T* to, const T* map, const float* roi, const Place& p) {
    // In float32 as mmcv's: the last digit decides how many samples there are, and which are outside.
    const float scale = static_cast<float>(p.scale), offset = p.aligned ? 0.5f : 0.0f;
    const float x = roi[1] * scale - offset, y = roi[2] * scale - offset;
    float wide = roi[3] * scale - offset - x, tall = roi[4] * scale - offset - y;
    if (!p.aligned) wide = std::max(wide, 1.0f), tall = std::max(tall, 1.0f);
    down.fill(y, tall, p.rows, p.sampling, p.height), across.fill(x, wide, p.columns, p.sampling, p.width);
    const T* image = map + static_cast<int64_t>(roi[0]) * p.height * p.width * p.channels;
    sums.resize(p.rows * p.columns * p.channels);
    for (int64_t bin = 0; bin < p.rows * p.columns; ++bin) {
      pixels.clear(), weights.clear();
      for (const Share* v = down.begin(bin / p.columns); v < down.end(bin / p.columns); ++v) {
        for (const Share* u = across.begin(bin % p.columns); u < across.end(bin % p.columns); ++u) {
          pixels.push_back(image + (v->place * p.width + u->place) * p.channels);
          weights.push_back(v->weight * u->weight);
        }
      }
      const int64_t count = static_cast<int64_t>(pixels.size());
      weighted(sums.data() + bin * p.channels, pixels.data(), weights.data(), count, p.channels);
    }
    turn(to, sums.data(), p.rows * p.columns, p.channels);
  }
};

bool is_finite(const float* roi) {
  return std::all_of(roi, roi + 5, [](float v) { return std::isfinite(v); });
}

template <typename T>
void run_all(const Tensor& features, const Tensor& rois, Tensor& out, const Place& p) {
  const T* map = features.const_data_ptr<T>();
  const float* roi = rois.const_data_ptr<float>();
  T* to = out.mutable_data_ptr<T>();
  const int64_t size = p.channels * p.rows * p.columns;
  at::parallel_for(0, rois.size(0), 1, [&](int64_t begin, int64_t end) {
    Region<T> region;
    for (int64_t k = begin; k < end; ++k) {
      if (is_finite(roi + 5 * k)) region.run(to + k * size, map, roi + 5 * k, p);
      else std::fill(to + k * size, to + (k + 1) * size, T(0));
    }
  });
}

Tensor roi_align(const Tensor& features, const Tensor& rois, at::IntArrayRef size, double scale,
                 int64_t sampling, bool aligned) {
  TORCH_CHECK(features.dim() == 4 && rois.dim() == 2 && rois.size(1) == 5 && size.size() == 2 &&
                  rois.scalar_type() == at::kFloat && size[0] > 0 && size[1] > 0 && features.numel(),
              "expected features (N, C, H, W), float32 RoIs (K, 5) and a size of two numbers, got ",
              features.sizes(), ", ", rois.sizes(), " and ", size);
  const auto type = features.scalar_type();
  if (type != at::kFloat && type != at::kBFloat16) {
    return roi_align(features.to(at::kFloat), rois, size, scale, sampling, aligned).to(type);
  }
  const Tensor map = features.contiguous(at::MemoryFormat::ChannelsLast), regions = rois.contiguous();
  const Place p{map.size(0), map.size(1), map.size(2), map.size(3), size[0], size[1], sampling, scale, aligned};
  const float* roi = regions.const_data_ptr<float>();
  for (int64_t k = 0; k < regions.size(0); ++k) {
    const float image = roi[5 * k];
    TORCH_CHECK(!std::isfinite(image) || (image >= 0 && image < p.images), "expected RoIs of ", p.images,
                " images, got one of ", image);
  }
  Tensor out = at::empty({regions.size(0), p.channels, p.rows, p.columns}, features.options(),
                         at::MemoryFormat::Contiguous);
  if (type == at::kFloat) run_all<float>(map, regions, out, p);
  else run_all<Half>(map, regions, out, p);
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(mmdyn, CPU, m) { m.impl("roi_align", &roi_align); }
