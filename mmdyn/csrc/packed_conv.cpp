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
#include <memory>
#include <type_traits>
#include <vector>

#include "amx.h"
#include "places.h"
#include "rows.h"
#include "tiles.h"
#include "winograd.h"

namespace {

using at::Tensor;

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

template <typename T>
struct Product {
  Source<T> source;
  const T *packed, *residual;
  const float* bias;
  T* out;
  int64_t outputs, inputs;  // channels; taps times channels
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

// A block of squares of two by two outputs: the inputs of its products, and the products of a panel.
struct Squares {
  explicit Squares(int64_t channels)
      : pitch(channels + 16), count(std::max<int64_t>(28, std::min<int64_t>(112, 131072 / channels / 7 / 14 * 14))),
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

// Gives each thread some pixels, or where these are few some of the panels, so that no weight is read
// twice. `rows`: pixels that belong together.
template <typename Part>
void share(int64_t pixels, int64_t rows, int64_t outputs, const Part& part) {
  const int64_t tiles = (pixels + rows - 1) / rows, panels = (outputs + kPanel - 1) / kPanel;
  const int64_t threads = at::get_num_threads();
  const int64_t across = tiles >= 8 * threads ? 1 : std::min(threads, panels);
  const int64_t along = std::min(std::max<int64_t>(threads / across, 1), tiles);
  at::parallel_for(0, along * across, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t i = task / across, j = task % across;
      const int64_t to = std::min(tiles * (i + 1) / along * rows, pixels);
      part(tiles * i / along * rows, to, panels * j / across, panels * (j + 1) / across);
    }
  });
}

// `squares`: the weight is that of products, not of taps.
void run(const Product<float>& p, int64_t pixels, bool squares) {
  if (pixels == 0) return;
#ifdef HAS_TILES
  const bool wide = tile_bits() == 512;
  TORCH_CHECK(wide || tile_bits() == 256, "this processor has neither AVX-512 nor AVX2: use conv_windows");
  const int64_t rows = wide ? Avx512::kRows : Avx2::kRows;
  if (squares) {
    const int64_t area = p.source.out_height * p.source.out_width;
    share(pixels / area * p.squares(), rows, p.outputs, [&](auto... part) {
      if (wide) run_squares<Avx512>(p, part...);
      else run_squares<Avx2>(p, part...);
    });
    return;
  }
  share(pixels, rows, p.outputs, [&](auto... part) {
    if (wide) run_part<Avx512>(p, part...);
    else run_part<Avx2>(p, part...);
  });
#else
  TORCH_CHECK(false, "this processor has neither AVX-512 nor AVX2: use conv_windows");
#endif
}

void run(const Product<Half>& p, int64_t pixels, bool squares) {
  TORCH_CHECK(!squares, "squares of outputs are computed in float32 only");
  TORCH_CHECK(has_amx(), "this processor has no AMX: use conv_windows");
#ifdef HAS_AMX
  if (pixels) share(pixels, 32, p.outputs, [&](auto... part) { run_part(p, part...); });
#endif
}

// Rows (n * L, C): the means of the four rows that an index (n, L, 4) names.
Tensor means_of(const Tensor& store, const Tensor& index) {
  const int64_t count = index.numel() / 4, c = store.size(1);
  if (store.scalar_type() != at::kFloat) {
    return store.index_select(0, index.reshape({-1})).view({count, 4, c}).mean(1);
  }
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

// What both operators do once it is known where the inputs lie; `out` and `residual` are row by row.
template <typename T>
void multiply(Product<T>& p, const Tensor& packed, const std::optional<Tensor>& bias, bool relu,
              const Tensor& residual, Tensor& out, int64_t outputs) {
  p.packed = packed.const_data_ptr<T>(), p.out = out.mutable_data_ptr<T>();
  if (bias) p.bias = bias->const_data_ptr<float>();
  if (residual.defined()) p.residual = residual.const_data_ptr<T>();
  p.outputs = outputs, p.inputs = p.source.taps() * p.source.channels, p.relu = relu;
  const bool squares = std::is_same_v<T, float> && packed.dim() == 4;
  if (squares) {
    p.down = starts(p.source.out_height, p.source.dilation[0]);
    p.across = starts(p.source.out_width, p.source.dilation[1]);
  }
  run(p, out.numel() / outputs, squares);
}

template <typename T>
Tensor windows_of(const Tensor& blocks, const std::optional<Tensor>& store,
                  const std::optional<Tensor>& index, at::IntArrayRef halo, const Tensor& packed,
                  int64_t outputs, at::IntArrayRef kernel, const std::optional<Tensor>& bias,
                  at::IntArrayRef stride, at::IntArrayRef dilation, bool relu,
                  const std::optional<Tensor>& residual) {
  const Tensor source = blocks.contiguous(at::MemoryFormat::ChannelsLast);
  Product<T> p{};
  Source<T>& s = p.source;
  s.channels = blocks.size(1), s.height = blocks.size(2), s.width = blocks.size(3);
  s.top = halo[0], s.left = halo[2], s.window = halo[2] + s.width + halo[3];
  const int64_t n = blocks.size(0), lines = halo[0] + s.height + halo[1];
  s.halo = lines * s.window - s.height * s.width;
  for (int i : {0, 1}) s.kernel[i] = kernel[i], s.stride[i] = stride[i], s.dilation[i] = dilation[i];
  s.out_height = (lines - dilation[0] * (kernel[0] - 1) - 1) / stride[0] + 1;
  s.out_width = (s.window - dilation[1] * (kernel[1] - 1) - 1) / stride[1] + 1;
  Tensor rows, places, added;
  if (store) {
    rows = store->contiguous(), places = index->contiguous();
    if (index->dim() == 3) rows = means_of(rows, places), places = Tensor();
    s.store = rows.const_data_ptr<T>();
    if (places.defined()) s.index = places.const_data_ptr<int64_t>();
  }
  s.blocks = source.const_data_ptr<T>();
  Tensor out = at::empty({n, s.out_height, s.out_width, outputs}, blocks.options());
  if (residual) added = residual->contiguous(at::MemoryFormat::ChannelsLast);
  multiply(p, packed, bias, relu, added, out, outputs);
  return out.permute({0, 3, 1, 2});
}

template <typename T>
Tensor rows_of(const Tensor& store, const std::optional<Tensor>& index, const Tensor& packed,
               int64_t outputs, const std::optional<Tensor>& bias, bool relu,
               const std::optional<Tensor>& residual) {
  const Tensor rows = store.contiguous();
  Product<T> p{};
  Source<T>& s = p.source;
  Tensor picked, added;
  s.rows = true, s.store = rows.const_data_ptr<T>(), s.channels = store.size(1);
  s.kernel[0] = index ? index->size(1) : 1, s.kernel[1] = 1;
  if (index) picked = index->contiguous(), s.index = picked.const_data_ptr<int64_t>();
  Tensor out = at::empty({index ? index->size(0) : store.size(0), outputs}, store.options());
  if (residual) added = residual->contiguous();
  multiply(p, packed, bias, relu, added, out, outputs);
  return out;
}

// The places of halo pixels in the windows are in raster order and not needed.
Tensor packed_windows(const Tensor& blocks, const std::optional<Tensor>& store,
                      const std::optional<Tensor>& index, const std::optional<Tensor>&,
                      at::IntArrayRef halo, const Tensor& packed, int64_t outputs,
                      at::IntArrayRef kernel, const std::optional<Tensor>& bias,
                      at::IntArrayRef stride, at::IntArrayRef dilation, bool relu,
                      const std::optional<Tensor>& residual) {
  const auto of = blocks.scalar_type() == at::kFloat ? windows_of<float> : windows_of<Half>;
  return of(blocks, store, index, halo, packed, outputs, kernel, bias, stride, dilation, relu, residual);
}

Tensor packed_rows(const Tensor& store, const std::optional<Tensor>& index, const Tensor& packed,
                   int64_t outputs, const std::optional<Tensor>& bias, bool relu,
                   const std::optional<Tensor>& residual) {
  const auto of = store.scalar_type() == at::kFloat ? rows_of<float> : rows_of<Half>;
  return of(store, index, packed, outputs, bias, relu, residual);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(mmdyn, m) {
  m.def("tile_bits() -> int", &tile_bits);
  m.def("has_amx() -> bool", &has_amx);
}

TORCH_LIBRARY_IMPL(mmdyn, CPU, m) {
  m.impl("packed_windows", &packed_windows);
  m.impl("packed_rows", &packed_rows);
}
