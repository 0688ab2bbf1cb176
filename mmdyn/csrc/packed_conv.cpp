// Convolutions over packed blocks, matrix products whose rows are read where they lie: in a block, or
// in the ring store for its halo. What they do is said in mmdyn/ops/conv/panels.py.
//
// The weight is packed once, in panels of output channels. A chunk of it meets all pixels of a block of
// kBlock, which may lie in many windows: how many pixels a window has a side makes no difference.

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <type_traits>

#include "by_amx.h"
#include "by_lanes.h"
#include "by_squares.h"
#include "by_taps.h"
#include "rows.h"

namespace {

using at::Tensor;

// MMDYN_TILE_BITS: the widest registers that may be used, 0 for none.
int64_t most_bits() {
  static const int64_t bits = [] {
    const char* given = std::getenv("MMDYN_TILE_BITS");
    const std::string wanted = given ? given : "";
    for (const int64_t known : {0, 256, 512}) {
      if (wanted == std::to_string(known)) return known;
    }
    if (!wanted.empty()) {
      TORCH_WARN("expected MMDYN_TILE_BITS to be 512, 256 or 0, got '", wanted, "'; it is 512");
    }
    return int64_t{512};
  }();
  return bits;
}

// Width of the registers in use: 512, 256, or 0 for neither, where nothing here may be called.
int64_t tile_bits() {
  static const int64_t bits = [] {
    [[maybe_unused]] const int64_t most = most_bits();
#ifdef HAS_TILES
    if (most >= 512 && __builtin_cpu_supports("avx512f")) return 512;
    if (most >= 256 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 256;
#endif
    return 0;
  }();
  return bits;
}

bool amx_serves() { return most_bits() == 512 && has_amx(); }

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

#ifdef HAS_TILES
template <typename Isa>
void share_strips(const Product<float>& p, int64_t windows) {
  TORCH_CHECK(p.pass <= Isa::kLanes && p.across.size() % kFewest == 0 && p.source.channels >= Isa::kWidth,
              "expected at most ", Isa::kLanes, " output channels a pass, squares by fours and ", Isa::kWidth,
              " channels, got ", p.pass, ", ", p.across.size(), " and ", p.source.channels);
  at::parallel_for(0, windows * Strip<Isa>::strips_of(p), 1,
                   [&](int64_t begin, int64_t end) { run_strips<Isa>(p, begin, end); });
}
#endif

// `squares`: the weight is that of products, not of taps.
void run(const Product<float>& p, int64_t pixels, bool squares) {
  if (pixels == 0) return;
#ifdef HAS_TILES
  const bool wide = tile_bits() == 512;
  TORCH_CHECK(wide || tile_bits() == 256, "this processor has neither AVX-512 nor AVX2: use conv_windows");
  if (p.pass) {
    const int64_t windows = pixels / (p.source.out_height * p.source.out_width);
    if (wide) share_strips<Avx512>(p, windows);
    else share_strips<Avx2>(p, windows);
    return;
  }
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
  TORCH_CHECK(amx_serves(), "this processor has no AMX: use conv_windows");
#ifdef HAS_AMX
  if (pixels) share(pixels, 32, p.outputs, [&](auto... part) { run_part(p, part...); });
#endif
}

// Rows (n * L, C): the means of the four rows that an index (n, L, 4) names.
template <typename T>
Tensor means_of(const Tensor& store, const Tensor& index) {
  const int64_t count = index.numel() / 4, c = store.size(1);
  Tensor out = at::empty({count, c}, store.options());
  const T* from = store.const_data_ptr<T>();
  const int64_t* four = index.const_data_ptr<int64_t>();
  T* to = out.mutable_data_ptr<T>();
  at::parallel_for(0, count, std::max<int64_t>(1, 16384 / c), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t* k = four + 4 * i;
      mean_of_four(to + i * c, from + k[0] * c, from + k[1] * c, from + k[2] * c, from + k[3] * c, c);
    }
  });
  return out;
}

// The bounds of what is read below, all but the rows that an index names: those are the engine's own.
void check_shapes(int64_t taps, int64_t channels, const Tensor& packed, int64_t outputs,
                  const std::optional<Tensor>& bias, const Tensor& out) {
  const bool floats = packed.scalar_type() == at::kFloat, squares = floats && packed.dim() == 4;
  const int64_t panel = squares ? packed.size(3) : kPanel;
  TORCH_CHECK(panel > 0, "expected a weight with output channels, got ", packed.sizes());
  const int64_t panels = (outputs + panel - 1) / panel;
  const int64_t inputs = squares ? 16 * channels : taps * channels;
  const int64_t deep = floats ? inputs : (inputs + 31) / 32 * 32;
  TORCH_CHECK(packed.scalar_type() == out.scalar_type() && packed.is_contiguous(),
              "expected a packed weight of the type of its input, ", out.scalar_type(), ", got ",
              packed.scalar_type());
  TORCH_CHECK(outputs > 0 && packed.numel() == panels * panel * deep, "expected an input of as many ",
              "channels as the weight has, got ", channels, " with a packed weight of ", packed.sizes(),
              " for ", taps, " taps and ", outputs, " output channels");
  TORCH_CHECK(!bias || (bias->scalar_type() == at::kFloat && bias->is_contiguous() &&
                        bias->numel() >= panels * panel),
              "expected a float32 bias padded to ", panels * panel, " numbers");
}

// What both operators do once it is known where the inputs lie; `out` and `residual` are row by row.
template <typename T>
void multiply(Product<T>& p, const Tensor& packed, const std::optional<Tensor>& bias, bool relu,
              const Tensor& residual, Tensor& out, int64_t outputs) {
  check_shapes(p.source.taps(), p.source.channels, packed, outputs, bias, out);
  p.packed = packed.const_data_ptr<T>(), p.out = out.mutable_data_ptr<T>();
  if (bias) p.bias = bias->const_data_ptr<float>();
  if (residual.defined()) p.residual = residual.const_data_ptr<T>();
  p.outputs = outputs, p.inputs = p.source.taps() * p.source.channels, p.relu = relu;
  const bool squares = std::is_same_v<T, float> && packed.dim() == 4;
  if (squares) {
    p.down = starts(p.source.out_height, p.source.dilation[0]);
    p.across = starts(p.source.out_width, p.source.dilation[1]);
    if (packed.size(3) != kPanel) p.pass = packed.size(3);
    TORCH_CHECK(!p.pass || (p.source.dilation[0] == 1 && p.source.dilation[1] == 1),
                "expected no dilation for a weight in passes of ", p.pass);
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
  const int64_t sides[] = {lines, s.window};
  for (int i : {0, 1}) {
    const int64_t reach = dilation[i] * (kernel[i] - 1) + 1;
    TORCH_CHECK(stride[i] > 0 && sides[i] >= reach, "expected a window that the kernel fits in, got ",
                sides[i], " pixels for ", reach);
  }
  s.halo = lines * s.window - s.height * s.width;
  for (int i : {0, 1}) s.kernel[i] = kernel[i], s.stride[i] = stride[i], s.dilation[i] = dilation[i];
  s.out_height = (lines - dilation[0] * (kernel[0] - 1) - 1) / stride[0] + 1;
  s.out_width = (s.window - dilation[1] * (kernel[1] - 1) - 1) / stride[1] + 1;
  TORCH_CHECK(store.has_value() == index.has_value() && (store || s.halo == 0),
              "expected a store and an index for windows with a halo");
  Tensor rows, places, added;
  if (store) {
    TORCH_CHECK(store->dim() == 2 && store->size(1) == s.channels &&
                    store->scalar_type() == blocks.scalar_type(),
                "expected a store of rows like the blocks' pixels, got ", store->sizes());
    TORCH_CHECK(index->scalar_type() == at::kLong &&
                    index->numel() == n * s.halo * (index->dim() == 3 ? 4 : 1),
                "expected an index of ", n * s.halo, " halo pixels, got ", index->sizes());
    rows = store->contiguous(), places = index->contiguous();
    if (index->dim() == 3) rows = means_of<T>(rows, places), places = Tensor();
    s.store = rows.const_data_ptr<T>();
    if (places.defined()) s.index = places.const_data_ptr<int64_t>();
  }
  s.blocks = source.const_data_ptr<T>();
  Tensor out = at::empty({n, s.out_height, s.out_width, outputs}, blocks.options());
  if (residual) {
    TORCH_CHECK(residual->sizes() == out.permute({0, 3, 1, 2}).sizes(), "expected a residual of the shape ",
                "of the output, got ", residual->sizes());
    added = residual->contiguous(at::MemoryFormat::ChannelsLast);
  }
  multiply(p, packed, bias, relu, added, out, outputs);
  return out.permute({0, 3, 1, 2});
}

template <typename T>
Tensor rows_of(const Tensor& store, const std::optional<Tensor>& index, const Tensor& packed,
               int64_t outputs, const std::optional<Tensor>& bias, bool relu,
               const std::optional<Tensor>& residual) {
  TORCH_CHECK(store.dim() == 2 && (!index || (index->dim() == 2 && index->scalar_type() == at::kLong)),
              "expected rows (rows, Cin) and an int64 index (M, taps), got ", store.sizes());
  const Tensor rows = store.contiguous();
  Product<T> p{};
  Source<T>& s = p.source;
  Tensor picked, added;
  s.rows = true, s.store = rows.const_data_ptr<T>(), s.channels = store.size(1);
  s.kernel[0] = index ? index->size(1) : 1, s.kernel[1] = 1;
  if (index) picked = index->contiguous(), s.index = picked.const_data_ptr<int64_t>();
  Tensor out = at::empty({index ? index->size(0) : store.size(0), outputs}, store.options());
  if (residual) {
    TORCH_CHECK(residual->sizes() == out.sizes(), "expected a residual of the shape of the output, got ",
                residual->sizes());
    added = residual->contiguous();
  }
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
  m.def("has_amx() -> bool", &amx_serves);
}

TORCH_LIBRARY_IMPL(mmdyn, CPU, m) {
  m.impl("packed_windows", &packed_windows);
  m.impl("packed_rows", &packed_rows);
}
