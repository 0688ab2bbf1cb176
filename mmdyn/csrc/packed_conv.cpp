// Convolutions over packed blocks in float32, a matrix product whose rows are read where they lie: in
// a block, or in the ring store for its halo. What it does is said in mmdyn/ops/conv/packed.py.
//
// The weight is packed once, in panels of output channels. A chunk of it meets all pixels of a block of
// kBlock, which may lie in many windows: how many pixels a window has a side makes no difference.

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "rows.h"
#include "tiles.h"

namespace {

using at::Tensor;
using Lines = std::vector<const float*>;

constexpr int64_t kChunk = 512;  // inputs (tap and channel) whose weights the cache is to hold
constexpr int64_t kRow = kChunk + 16;
constexpr int64_t kPage = 1024;  // numbers; rows whole pages apart fall on the same few cache lines

// Width of the registers in use: 512, 256, or 0 for neither, where nothing here may be called.
// MMDYN_TILE_BITS sets a smaller one.
int64_t tile_bits() {
  static const int64_t bits = [] {
    const char* wanted = std::getenv("MMDYN_TILE_BITS");
    const int64_t most = wanted ? std::atoll(wanted) : 512;
#ifdef HAS_TILES
    if (most >= 512 && __builtin_cpu_supports("avx512f")) return 512;
    if (most >= 256 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 256;
#endif
    return 0;
  }();
  return bits;
}

// Where the inputs of output pixels lie: windows of blocks, or rows that an index names.
struct Source {
  const float *blocks, *store;
  const int64_t* index;  // (n, halo pixels of a window); of rows (pixels, taps), or null
  int64_t channels, height, width, top, left, window, halo;  // of a block; of a window
  int64_t out_height, out_width, kernel[2], stride[2], dilation[2];
  bool rows;

  int64_t taps() const { return kernel[0] * kernel[1]; }

  const float* row(int64_t place) const { return store + place * channels; }

  // The input of window line y, column x of block n.
  const float* at(int64_t n, int64_t y, int64_t x) const {
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
  void locate(int64_t first, int64_t count, Lines& lines) const {
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

struct Product {
  Source source;
  const float *packed, *bias, *residual;
  float* out;
  int64_t outputs, inputs;  // channels; taps times channels
  bool relu;
};

// Inputs [from, from + depth) of one tap of some pixels, side by side.
void copy_chunk(const float* const* lines, int64_t from, int64_t depth, int64_t count, float* to, Lines& at) {
  for (int64_t i = 0; i < count; ++i) {
    at[i] = to + i * kRow;
    std::memcpy(to + i * kRow, lines[i] + from, depth * sizeof(float));
  }
}

struct Scratch {
  explicit Scratch(int64_t taps)
      : lines(taps * kBlock), copied(kBlock), pixels(kBlock * kRow), sums(kBlock * kPanel),
        added(kBlock * kPanel) {}
  Lines lines, copied;
  std::vector<float> pixels, sums, added;  // the last two of a panel that is not full
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
void multiply(const Product& p, int64_t panel, int64_t first, int64_t count, Tile t, Scratch& s) {
  const int64_t channel = panel * kPanel, columns = std::min(kPanel, p.outputs - channel);
  float* out = p.out + first * p.outputs + channel;
  const float* added = p.residual ? p.residual + first * p.outputs + channel : nullptr;
  const bool whole = columns % Isa::kWidth == 0;
  if (whole) {
    t.c = out, t.pitch = p.outputs, t.residual = added;
  } else {
    t.c = s.sums.data(), t.pitch = kPanel, t.residual = added ? s.added.data() : nullptr;
    if (t.last && added) copy_columns(added, p.outputs, s.added.data(), kPanel, count, columns);
  }
  if (p.bias) t.bias = p.bias + channel;
  for (int64_t i = 0; i < count; i += Isa::kRows) {
    run_tile<Isa>(std::min<int64_t>(Isa::kRows, count - i), columns, t);
    t.lines += Isa::kRows, t.c += Isa::kRows * t.pitch;
    if (t.residual) t.residual += Isa::kRows * t.pitch;
  }
  if (!whole && t.last) copy_columns(s.sums.data(), kPanel, out, p.outputs, count, columns);
}

// Pixels [begin, end) of panels [low, high).
template <typename Isa>
void run_part(const Product& p, int64_t begin, int64_t end, int64_t low, int64_t high) {
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
        copy_chunk(s.lines.data() + tap * kBlock, start, whole.depth, count, s.pixels.data(), s.copied);
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

template <typename Isa>
void run(const Product& p, int64_t pixels) {
  const int64_t tiles = (pixels + Isa::kRows - 1) / Isa::kRows;
  const int64_t panels = (p.outputs + kPanel - 1) / kPanel, threads = at::get_num_threads();
  // Few pixels: each thread takes some of the channels, so that no weight is read twice.
  int64_t across = tiles >= 8 * threads ? 1 : std::min(threads, panels);
  const int64_t along = std::min(std::max<int64_t>(threads / across, 1), tiles);
  at::parallel_for(0, along * across, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t i = task / across, j = task % across;
      const int64_t from = tiles * i / along * Isa::kRows;
      const int64_t to = std::min(tiles * (i + 1) / along * Isa::kRows, pixels);
      run_part<Isa>(p, from, to, panels * j / across, panels * (j + 1) / across);
    }
  });
}

#endif

void run_any(const Product& p, int64_t pixels) {
#ifdef HAS_TILES
  if (pixels == 0) return;
  if (tile_bits() == 512) return run<Avx512>(p, pixels);
  if (tile_bits() == 256) return run<Avx2>(p, pixels);
#endif
  TORCH_CHECK(pixels == 0, "this processor has neither AVX-512 nor AVX2: use conv_windows");
}

// Rows (n * L, C): the means of the four rows that an index (n, L, 4) names.
Tensor means_of(const Tensor& store, const Tensor& index) {
  const int64_t count = index.numel() / 4, c = store.size(1);
  Tensor out = at::empty({count, c}, store.options());
  const float* from = store.const_data_ptr<float>();
  const int64_t* four = index.const_data_ptr<int64_t>();
  float* to = out.mutable_data_ptr<float>();
  at::parallel_for(0, count, std::max<int64_t>(1, 16384 / c), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t* k = four + 4 * i;
      mean_of_four(to + i * c, from + k[0] * c, from + k[1] * c, from + k[2] * c, from + k[3] * c, c);
    }
  });
  return out;
}

const float* data_of(const std::optional<Tensor>& x) {
  return x ? x->const_data_ptr<float>() : nullptr;
}

Tensor packed_windows(const Tensor& blocks, const std::optional<Tensor>& store,
                      const std::optional<Tensor>& index, const std::optional<Tensor>&,
                      at::IntArrayRef halo, const Tensor& packed, int64_t outputs,
                      at::IntArrayRef kernel, const std::optional<Tensor>& bias,
                      at::IntArrayRef stride, at::IntArrayRef dilation, bool relu,
                      const std::optional<Tensor>& residual) {
  const Tensor source = blocks.contiguous(at::MemoryFormat::ChannelsLast);
  Product p{};
  Source& s = p.source;
  const int64_t n = blocks.size(0);
  s.channels = blocks.size(1), s.height = blocks.size(2), s.width = blocks.size(3);
  s.top = halo[0], s.left = halo[2], s.window = halo[2] + s.width + halo[3];
  const int64_t lines = halo[0] + s.height + halo[1];
  s.halo = lines * s.window - s.height * s.width;
  for (int i : {0, 1}) s.kernel[i] = kernel[i], s.stride[i] = stride[i], s.dilation[i] = dilation[i];
  s.out_height = (lines - dilation[0] * (kernel[0] - 1) - 1) / stride[0] + 1;
  s.out_width = (s.window - dilation[1] * (kernel[1] - 1) - 1) / stride[1] + 1;
  Tensor rows, places, added;
  if (store) {
    rows = store->contiguous(), places = index->contiguous();
    if (index->dim() == 3) rows = means_of(rows, places), places = Tensor();
    s.store = rows.const_data_ptr<float>();
    if (places.defined()) s.index = places.const_data_ptr<int64_t>();
  }
  s.blocks = source.const_data_ptr<float>();
  Tensor out = at::empty({n, s.out_height, s.out_width, outputs}, blocks.options());
  if (residual) {
    added = residual->contiguous(at::MemoryFormat::ChannelsLast);
    p.residual = added.const_data_ptr<float>();
  }
  p.packed = packed.const_data_ptr<float>(), p.bias = data_of(bias);
  p.out = out.mutable_data_ptr<float>(), p.outputs = outputs;
  p.inputs = s.taps() * s.channels, p.relu = relu;
  run_any(p, n * s.out_height * s.out_width);
  return out.permute({0, 3, 1, 2});
}

Tensor packed_rows(const Tensor& store, const std::optional<Tensor>& index, const Tensor& packed,
                   int64_t outputs, const std::optional<Tensor>& bias, bool relu,
                   const std::optional<Tensor>& residual) {
  const Tensor rows = store.contiguous();
  Product p{};
  Source& s = p.source;
  Tensor picked, added;
  s.rows = true, s.store = rows.const_data_ptr<float>(), s.channels = store.size(1);
  s.kernel[0] = index ? index->size(1) : 1, s.kernel[1] = 1;
  if (index) picked = index->contiguous(), s.index = picked.const_data_ptr<int64_t>();
  const int64_t pixels = index ? index->size(0) : store.size(0);
  Tensor out = at::empty({pixels, outputs}, store.options());
  if (residual) added = residual->contiguous(), p.residual = added.const_data_ptr<float>();
  p.packed = packed.const_data_ptr<float>(), p.bias = data_of(bias);
  p.out = out.mutable_data_ptr<float>(), p.outputs = outputs;
  p.inputs = s.taps() * s.channels, p.relu = relu;
  run_any(p, pixels);
  return out;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(mmdyn, m) {
  m.def("tile_bits() -> int", &tile_bits);
}

TORCH_LIBRARY_IMPL(mmdyn, CPU, m) {
  m.impl("packed_windows", &packed_windows);
  m.impl("packed_rows", &packed_rows);
}
