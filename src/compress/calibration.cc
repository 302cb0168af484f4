#include "cllm/compress/calibration.h"

#include <algorithm>
#include <utility>

#include "cllm/base/parallel.h"
#include "cllm/base/team.h"
#include "cllm/kernels/blas.h"
#include "cllm/train/window_micro_batches.h"

namespace cllm::compress {
namespace {

/// Of the mean weight, what a row has that the text never used.
constexpr double kUnseen = 0.1;

/// Takes a micro-batch's gradient, and keeps of it the sum of squares of each row of each matrix.
class RowSquares final : public model::GradientSink {
 public:
  RowSquares(const model::Layout& layout, const model::Tiling& tiling)
      : layout_(layout), tiling_(tiling), rows_(layout.tensors().size()) {
    for (std::size_t i = 0; i < rows_.size(); ++i) rows_[i].resize(layout[i].rows);
    tokens_.resize(layout.config().vocabulary);
  }

  void clear() {
    for (std::vector<double>& rows : rows_) std::ranges::fill(rows, 0.0);
    std::ranges::fill(tokens_, 0.0);
  }
  /// Of a matrix; of the token embedding as the head.
  const std::vector<double>& rows(std::size_t tensor) const { return rows_[tensor]; }
  /// Of the token embedding as the inputs.
  const std::vector<double>& tokens() const { return tokens_; }

  void add(std::size_t tile, std::size_t, const float* values, std::size_t stride,
           Recorder&) override {
    const model::Tile& t = tiling_[tile];
    if (!layout_[t.tensor].is_matrix()) return;
    for (std::size_t row = 0; row < t.rows; ++row) {
      rows_[t.tensor][t.row + row] += squares(values + row * stride, t.columns);
    }
  }
  void begin_tokens(std::size_t, Recorder&) override {}
  void add_token(std::uint32_t token, const float* row) override {
    tokens_[token] += squares(row, layout_[layout_.band_of(token).tensor].columns);
  }
  void end_tokens(std::size_t) override {}

 private:
  static double squares(const float* values, std::size_t count) {
    double sum = 0;
    for (std::size_t i = 0; i < count; ++i) {
      sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    }
    return sum;
  }

  const model::Layout& layout_;
  const model::Tiling& tiling_;
  std::vector<std::vector<double>> rows_;
  std::vector<double> tokens_;
};

/// A thread's own.
struct Worker {
  model::Workspace workspace;
  model::Scratch scratch;
  train::WindowMicroBatches::Tokens tokens;
  RowSquares squares;
  model::MicroBatch micro_batch{};  // that went through last
};

double trace(const AlignedBuffer<double>& matrix, std::size_t n) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += matrix[i * n + i];
  return sum;
}

/// Sums over positions, as the micro-batches give them.
struct Sums {
  std::vector<AlignedBuffer<double>> covariances;  // by tensor
  std::vector<std::vector<double>> squares;        // by tensor, of rows
  std::vector<double> token_squares;               // (V)
  AlignedBuffer<double> stream;                    // (C, C): of the gradient by the residual stream
  // The same by the inputs' rows of each band of the token embedding.
  std::vector<AlignedBuffer<double>> token_rows;
  std::size_t rows = 0;
};

void add(const std::vector<double>& values, std::vector<double>& sums) {
  for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += values[i];
}

AlignedBuffer<double> means_of(const AlignedBuffer<double>& sums, double count) {
  AlignedBuffer<double> means(sums.size());
  for (std::size_t i = 0; i < sums.size(); ++i) means[i] = sums[i] / count;
  return means;
}

/// What rows that the text doesn't have count.
void add_unseen(std::vector<double>& weights) {
  double mean = 0;
  for (const double weight : weights) mean += weight;
  mean /= static_cast<double>(weights.size());
  for (double& weight : weights) weight += kUnseen * mean + 1e-30;
}

/// Sums to what the statistics say; Note [Sensitivity].
std::vector<MatrixStatistics> statistics_of(const model::Layout& layout, Sums sums) {
  const std::span<const model::TableBand> bands = layout.embedding();
  const auto positions = static_cast<double>(sums.rows);
  std::vector<MatrixStatistics> statistics(sums.covariances.size());
  // Each position of the context is added to the residual stream as often as any other.
  if (layout.wpe()) {
    MatrixStatistics& wpe = statistics[*layout.wpe()];
    wpe.covariance = means_of(sums.stream, positions);
    const auto context = static_cast<double>(layout.config().context);
    wpe.weights.assign(layout.config().context, 1 / context);
  }
  for (std::size_t i = 0; i < statistics.size(); ++i) {
    MatrixStatistics& s = statistics[i];
    const auto band = std::ranges::find(bands, i, &model::TableBand::tensor);
    const auto number = static_cast<std::size_t>(band - bands.begin());
    const double* const token_squares =
        sums.token_squares.data() + (band == bands.end() ? 0 : band->first_row);
    if (band != bands.end() && !layout.is_tied()) {
      s.covariance = means_of(sums.token_rows[number], positions);
      const double spread = std::max(trace(s.covariance, layout[i].columns), 1e-30);
      for (std::size_t row = 0; row < band->rows; ++row) {
        s.weights.push_back(token_squares[row] / positions / spread);
      }
      add_unseen(s.weights);
      continue;
    }
    if (sums.covariances[i].size() == 0) continue;
    s.covariance = std::move(sums.covariances[i]);
    for (double& value : s.covariance.span()) value /= positions;
    const std::size_t in = layout[i].columns;
    const double spread = std::max(trace(s.covariance, in), 1e-30);
    for (const double squares : sums.squares[i]) s.weights.push_back(squares / positions / spread);
    if (band != bands.end()) {  // which is the head too
      double head = 0;
      for (const double weight : s.weights) head += weight;
      for (std::size_t j = 0; j < in * in; ++j) {
        s.covariance[j] = head * s.covariance[j] + sums.token_rows[number][j] / positions;
      }
      const double both = std::max(trace(s.covariance, in), 1e-30);
      for (std::size_t v = 0; v < s.weights.size(); ++v) {
        s.weights[v] = (s.weights[v] * spread + token_squares[v] / positions) / both;
      }
    }
    add_unseen(s.weights);
  }
  return statistics;
}

}  // namespace

std::uint64_t statistics_bytes(const model::Layout& layout) {
  std::uint64_t bytes = 0;
  for (const model::Tensor& tensor : layout.tensors()) {
    if (tensor.is_matrix()) bytes += sizeof(double) * tensor.columns * tensor.columns;
  }
  return bytes;
}

std::vector<MatrixStatistics> measure_sensitivity(const model::Model& model,
                                                  const float* parameters, data::TokenView tokens,
                                                  std::uint64_t sequences, int threads,
                                                  const std::function<void(double)>& progress) {
  constexpr model::Purpose kPurpose = model::Purpose::kTraining;
  const model::Layout& layout = model.layout();
  const model::ModelConfig& config = layout.config();
  const train::WindowMicroBatches micro_batches(tokens, config.context, sequences);
  const std::vector<model::MatrixInput> inputs = model.network().matrices();
  const std::size_t c = config.channels;
  const model::Embedding& embedding = *model.network().embedding;
  const std::span<const model::TableBand> bands = layout.embedding();
  Sums sums{.covariances = std::vector<AlignedBuffer<double>>(layout.tensors().size()),
            .squares = std::vector<std::vector<double>>(layout.tensors().size()),
            .token_squares = std::vector<double>(config.vocabulary),
            .stream = AlignedBuffer<double>(c * c),
            .token_rows = {}};
  std::size_t widest = config.channels;
  for (const model::MatrixInput& x : inputs) {
    const model::Tensor& tensor = layout[x.tensor];
    widest = std::max(widest, tensor.columns);
    sums.covariances[x.tensor] = AlignedBuffer<double>(tensor.columns * tensor.columns);
    sums.squares[x.tensor].resize(tensor.rows);
  }
  for (const model::TableBand& band : bands) {
    const std::size_t width = layout[band.tensor].columns;
    sums.token_rows.emplace_back(width * width);
    if (layout.is_tied() || !band.basis) continue;
    sums.covariances[*band.basis] = AlignedBuffer<double>(c * c);
    sums.squares[*band.basis].resize(layout[*band.basis].rows);
  }
  const auto count = std::min(static_cast<std::size_t>(threads), micro_batches.size());
  std::vector<Worker> workers;
  for (std::size_t i = 0; i < count; ++i) {
    workers.push_back(
        {.workspace = model::Workspace(model.network(), micro_batches.shape(), kPurpose),
         .scratch = model::Scratch(config, model.tiling().largest()),
         .tokens = micro_batches.make_room(),
         .squares = RowSquares(layout, model.tiling())});
  }
  std::vector<AlignedBuffer<float>> products;
  for (std::size_t i = 0; i < count; ++i) products.emplace_back(widest * widest);

  // In rounds: each thread takes a micro-batch through the model; then each sum is one thread's,
  // which adds the micro-batches' parts in their order.
  for (std::size_t done = 0; done < micro_batches.size(); done += count) {
    if (progress) progress(static_cast<double>(done) / static_cast<double>(micro_batches.size()));
    const std::size_t in_round = std::min(count, micro_batches.size() - done);
    parallel(static_cast<int>(in_round), [&](int thread) {
      Worker& worker = workers[static_cast<std::size_t>(thread)];
      worker.micro_batch =
          micro_batches.read(done + static_cast<std::size_t>(thread), worker.tokens);
      worker.squares.clear();
      Team alone(1);
      Recorder recorder;
      model.loss_and_gradient(parameters, worker.micro_batch, 1.0f, worker.workspace,
                              worker.scratch, worker.squares, Member{alone, 0, recorder});
    });
    for (std::size_t w = 0; w < in_round; ++w) {
      sums.rows += workers[w].micro_batch.rows();
      add(workers[w].squares.tokens(), sums.token_squares);
      for (std::size_t i = 0; i < sums.squares.size(); ++i) {
        if (!sums.squares[i].empty()) add(workers[w].squares.rows(i), sums.squares[i]);
      }
    }
    parallel(static_cast<int>(count), [&](int thread) {
      const auto t = static_cast<std::size_t>(thread);
      // xᵀ x (n, n) of so many rows of a micro-batch, from the first on.
      const auto add_product = [&](const model::View& x, std::size_t n, std::size_t first,
                                   std::size_t rows, AlignedBuffer<double>& sum) {
        if (rows == 0) return;
        float* const product = products[t].data();
        const float* const from = x.row(first);
        kernels::sgemm(kernels::Transpose::kYes, kernels::Transpose::kNo, n, n, rows, 1.0f, from,
                       x.stride, from, x.stride, 0.0f, product, n);
        for (std::size_t j = 0; j < n * n; ++j) sum[j] += static_cast<double>(product[j]);
      };
      const auto add_products = [&](model::Buffer buffer, AlignedBuffer<double>& sum) {
        for (std::size_t w = 0; w < in_round; ++w) {
          const model::View x = workers[w].workspace[buffer];
          add_product(x, x.columns, 0, workers[w].micro_batch.rows(), sum);
        }
      };
      for (std::size_t i = t; i < inputs.size(); i += count) {
        add_products(inputs[i].x, sums.covariances[inputs[i].tensor]);
      }
      if (t == 0) {
        add_products(embedding.gradient(), sums.stream);
        for (std::size_t w = 0; w < in_round; ++w) {
          const model::Workspace& from = workers[w].workspace;
          for (std::size_t b = 0; b < bands.size(); ++b) {
            const auto rows = embedding.band_rows(workers[w].micro_batch, b);
            add_product(from[rows.drows], layout[bands[b].tensor].columns, rows.first, rows.count,
                        sums.token_rows[b]);
            if (layout.is_tied() || !bands[b].basis) continue;
            add_product(from[rows.dx], c, rows.first, rows.count,
                        sums.covariances[*bands[b].basis]);
          }
        }
      }
    });
  }
  return statistics_of(layout, std::move(sums));
}

}  // namespace cllm::compress
