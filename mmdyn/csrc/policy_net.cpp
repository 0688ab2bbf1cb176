// The policies' network (mmdyn/policies/policy_net.py) and the gradient of its weights, in one call
// each: between two frames, what hundreds of small operators touch has left the caches.

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <cmath>
#include <limits>

#include "small_maps.h"

namespace {

using at::Tensor;

constexpr float kReach = 10.0f;

// How the weights are ordered: as the module's parameters are.
struct Weights {
  Tensor held[16];  // in the order of their shapes
  const float* part[16];
  int64_t size[16];
  Kernel look[3], first, second;

  Weights(const at::TensorList given, int64_t picture, int64_t cells) {
    TORCH_CHECK(given.size() == 16, "expected 16 weights, got ", given.size());
    for (int64_t p = 0; p < 16; ++p) {
      TORCH_CHECK(given[p].scalar_type() == at::kFloat, "expected float32 weights, got ",
                  given[p].scalar_type());
      held[p] = given[p].contiguous();
      part[p] = held[p].const_data_ptr<float>(), size[p] = held[p].numel();
    }
    const int64_t width = size[2], deep = size[5];
    look[0] = {width, picture, 3, 2}, look[1] = {deep, width, 3, 2}, look[2] = {deep, deep, 3, 1};
    first = {deep, 2 * deep + cells, 1, 1}, second = {deep, deep, 3, 1};
    const int64_t sizes[16] = {1, look[0].size(), width, width, look[1].size(), deep, deep,
                               look[2].size(), deep, deep, first.size(), deep, second.size(), deep,
                               deep, 1};
    for (int64_t p = 0; p < 16; ++p) {
      TORCH_CHECK(size[p] == sizes[p], "expected ", sizes[p], " numbers in weight ", p, " of a policy "
                  "that reads ", picture, " and ", cells, " channels, got ", size[p]);
    }
    TORCH_CHECK(width % kGroup == 0 && deep % kGroup == 0, "expected widths that are multiples of ",
                kGroup, ", got ", width, " and ", deep);
  }
};

// What a forward pass leaves for the backward pass.
struct Pass {
  std::vector<Map> in, normal, out;      // of the three convolutions: inputs, normalised, outputs
  std::vector<std::vector<float>> scale;  // 1 / standard deviation, of each group
  std::vector<int64_t> best;              // the pixel that each cell's maximum is from
  std::vector<Map> mixed;                 // cells: pooled, after the first convolution, the second
  std::vector<float> correction;
};

// An image (C, H, W).
Map read(const float* from, int64_t c, int64_t h, int64_t w) {
  Map out(h, w, c);
  for (int64_t ch = 0; ch < c; ++ch)
    for (int64_t p = 0; p < h * w; ++p) out.data[p * out.pitch + ch] = from[ch * h * w + p];
  return out;
}

// Calls back for each cell with its pixels' first and last row and column.
template <typename Body>
void each_cell(const Map& map, int64_t rows, int64_t columns, const Body& body) {
  for (int64_t y = 0, cell = 0; y < rows; ++y)
    for (int64_t x = 0; x < columns; ++x, ++cell)
      body(cell, y * map.h / rows, ((y + 1) * map.h + rows - 1) / rows, x * map.w / columns,
           ((x + 1) * map.w + columns - 1) / columns);
}

// The mean and the maximum of each cell's pixels, then the cell's own numbers.
Map pool(const Map& seen, const Map& cells, std::vector<int64_t>& best) {
  Map out(cells.h, cells.w, 2 * seen.c + cells.c);
  best.assign(cells.pixels() * seen.c, 0);
  each_cell(seen, cells.h, cells.w, [&](int64_t cell, int64_t y0, int64_t y1, int64_t x0, int64_t x1) {
    float* mean = out.data.data() + cell * out.pitch;
    float* most = mean + seen.c;
    std::fill(most, most + seen.c, -std::numeric_limits<float>::infinity());
    for (int64_t y = y0; y < y1; ++y)
      for (int64_t x = x0; x < x1; ++x) {
        const float* from = seen.at(y, x);
        for (int64_t c = 0; c < seen.c; ++c) {
          mean[c] += from[c];
          if (from[c] > most[c] || from[c] != from[c]) {
            most[c] = from[c], best[cell * seen.c + c] = from - seen.data.data();
          }
        }
      }
    for (int64_t c = 0; c < seen.c; ++c) mean[c] /= static_cast<float>((y1 - y0) * (x1 - x0));
    const float* own = cells.data.data() + cell * cells.pitch;
    std::copy(own, own + cells.c, most + seen.c);
  });
  return out;
}

Map pooled_gradient(const Map& grad, const Map& seen, const std::vector<int64_t>& best) {
  Map out(seen.h, seen.w, seen.c);
  each_cell(seen, grad.h, grad.w, [&](int64_t cell, int64_t y0, int64_t y1, int64_t x0, int64_t x1) {
    const float* mean = grad.data.data() + cell * grad.pitch;
    const float share = 1.0f / static_cast<float>((y1 - y0) * (x1 - x0));
    for (int64_t y = y0; y < y1; ++y)
      for (int64_t x = x0; x < x1; ++x)
        for (int64_t c = 0; c < seen.c; ++c) out.at(y, x)[c] += mean[c] * share;
    for (int64_t c = 0; c < seen.c; ++c) out.data[best[cell * seen.c + c] + c] += mean[seen.c + c];
  });
  return out;
}

Pass look(const Weights& w, Map picture, const Map& cells) {
  Pass pass;
  pass.in.push_back(std::move(picture));
  for (int64_t layer = 0; layer < 3; ++layer) {
    Map x = convolve(pass.in[layer], w.look[layer], w.part[1 + 3 * layer], nullptr);
    pass.scale.push_back(normalise(x));
    pass.normal.push_back(x);
    const float *slope = w.part[2 + 3 * layer], *offset = w.part[3 + 3 * layer];
    for (int64_t p = 0; p < x.pixels(); ++p)
      for (int64_t c = 0; c < x.c; ++c) {
        float& v = x.data[p * x.pitch + c];
        v = v * slope[c] + offset[c];
      }
    rectify(x);
    pass.out.push_back(x);
    if (layer < 2) pass.in.push_back(std::move(x));
  }
  pass.mixed.push_back(pool(pass.out[2], cells, pass.best));
  pass.mixed.push_back(convolve(pass.mixed[0], w.first, w.part[10], w.part[11]));
  rectify(pass.mixed[1]);
  pass.mixed.push_back(convolve(pass.mixed[1], w.second, w.part[12], w.part[13]));
  rectify(pass.mixed[2]);
  const Map& last = pass.mixed[2];
  for (int64_t cell = 0; cell < last.pixels(); ++cell) {
    float sum = w.part[15][0];
    for (int64_t c = 0; c < last.c; ++c) sum += last.data[cell * last.pitch + c] * w.part[14][c];
    pass.correction.push_back(std::tanh(sum / kReach));
  }
  return pass;
}

// What the network reads, image by image.
struct Features {
  Tensor picture, cells, prior;

  Features(const Tensor& picture, const Tensor& cells, const Tensor& prior)
      : picture(picture.contiguous()), cells(cells.contiguous()), prior(prior.contiguous()) {
    TORCH_CHECK(picture.dim() == 4 && cells.dim() == 4 && prior.dim() == 3 &&
                    picture.size(0) == cells.size(0) && picture.size(2) > 0 && picture.size(3) > 0 &&
                    prior.size(0) == cells.size(0) && prior.size(1) == cells.size(2) &&
                    prior.size(2) == cells.size(3),
                "expected picture (N, C, H, W), cells (N, C, GH, GW) and prior (N, GH, GW), got ",
                picture.sizes(), ", ", cells.sizes(), ", ", prior.sizes());
    for (const Tensor& x : {picture, cells, prior})
      TORCH_CHECK(x.scalar_type() == at::kFloat, "expected float32, got ", x.scalar_type());
  }
  int64_t images() const { return prior.size(0); }
  int64_t area() const { return prior.size(1) * prior.size(2); }
  Pass look(const Weights& w, int64_t i) const {
    return ::look(w, image(picture, i), image(cells, i));
  }

 private:
  static Map image(const Tensor& x, int64_t i) {
    const int64_t size = x.size(1) * x.size(2) * x.size(3);
    return read(x.const_data_ptr<float>() + i * size, x.size(1), x.size(2), x.size(3));
  }
};

Tensor policy_logits(const Tensor& picture, const Tensor& cells, const Tensor& prior,
                     const at::TensorList weights) {
  const Features given(picture, cells, prior);
  const Weights w(weights, picture.size(1), cells.size(1));
  Tensor out = at::empty(prior.sizes(), given.prior.options());
  float* to = out.mutable_data_ptr<float>();
  const float* base = given.prior.const_data_ptr<float>();
  at::parallel_for(0, given.images(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Pass pass = given.look(w, i);
      for (int64_t cell = 0; cell < given.area(); ++cell) {
        const int64_t at = i * given.area() + cell;
        to[at] = w.part[0][0] * base[at] + kReach * pass.correction[cell];
      }
    }
  });
  return out;
}

// From the gradient of one image's logits to that of all weights, which `to` has room for.
void pull_back(const Weights& w, const Pass& pass, const float* g, const float* base, float* to) {
  float* part[16];
  for (int64_t p = 0; p < 16; to += w.size[p++]) part[p] = to;
  const Map& last = pass.mixed[2];
  Map grad(last.h, last.w, last.c);
  for (int64_t cell = 0; cell < last.pixels(); ++cell) {
    const float inner = g[cell] * (1.0f - pass.correction[cell] * pass.correction[cell]);
    part[0][0] += g[cell] * base[cell], part[15][0] += inner;
    for (int64_t c = 0; c < last.c; ++c) {
      part[14][c] += inner * last.data[cell * last.pitch + c];
      grad.data[cell * last.pitch + c] = inner * w.part[14][c];
    }
  }
  for (int64_t layer = 2; layer > 0; --layer) {  // of the cells
    const Kernel& k = layer == 2 ? w.second : w.first;
    const int64_t p = layer == 2 ? 12 : 10;
    rectified_gradient(grad, pass.mixed[layer]);
    weight_gradient(pass.mixed[layer - 1], grad, k, part[p]);
    add_pixels(grad, part[p + 1]);
    grad = input_gradient(grad, k, w.part[p], pass.mixed[layer - 1]);
  }
  grad = pooled_gradient(grad, pass.out[2], pass.best);
  for (int64_t layer = 2; layer >= 0; --layer) {  // of the picture
    const Map& normal = pass.normal[layer];
    const int64_t p = 1 + 3 * layer;
    rectified_gradient(grad, pass.out[layer]);
    add_pixels(grad, part[p + 2]);
    Map along = grad;
    for (size_t i = 0; i < along.data.size(); ++i) along.data[i] *= normal.data[i];
    add_pixels(along, part[p + 1]);
    for (int64_t i = 0; i < grad.pixels(); ++i)
      for (int64_t c = 0; c < grad.c; ++c) grad.data[i * grad.pitch + c] *= w.part[p + 1][c];
    normalised_gradient(grad, normal, pass.scale[layer]);
    weight_gradient(pass.in[layer], grad, w.look[layer], part[p]);
    if (layer) grad = input_gradient(grad, w.look[layer], w.part[p], pass.in[layer]);
  }
}

// The gradient of all weights, one after the other, from that of the logits.
Tensor policy_gradient(const Tensor& picture, const Tensor& cells, const Tensor& prior,
                       const at::TensorList weights, const Tensor& gradient) {
  const Features given(picture, cells, prior);
  TORCH_CHECK(gradient.sizes() == prior.sizes() && gradient.scalar_type() == at::kFloat,
              "expected a float32 gradient of shape ", prior.sizes(), ", got ", gradient.sizes());
  const Weights w(weights, picture.size(1), cells.size(1));
  int64_t total = 0;
  for (const int64_t size : w.size) total += size;
  Tensor out = at::zeros({given.images(), total}, given.prior.options());
  const Tensor logits = gradient.contiguous();
  const float *g = logits.const_data_ptr<float>(), *base = given.prior.const_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
  at::parallel_for(0, given.images(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = i * given.area();
      pull_back(w, given.look(w, i), g + at, base + at, to + i * total);
    }
  });
  return out.sum(0);
}

}  // namespace

TORCH_LIBRARY_IMPL(mmdyn, CPU, m) {
  m.impl("policy_logits", &policy_logits);
  m.impl("policy_gradient", &policy_gradient);
}
