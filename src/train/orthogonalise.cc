#include "cllm/train/orthogonalise.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "cllm/base/error.h"
#include "cllm/kernels/blas.h"

namespace cllm::train {
namespace {

using kernels::Transpose;

constexpr Quintic kNewtonSchulz = {3.4445, -4.7750, 2.0315};
constexpr std::array kPolarExpress = {
    Quintic{8.156554524902461, -22.48329292557795, 15.878769915207462},
    Quintic{4.042929935166739, -2.808917465908714, 0.5000178451051316},
    Quintic{3.8916678022926607, -2.772484153217685, 0.5060648178503393},
    Quintic{3.285753657755655, -2.3681294933425376, 0.46449024233003106},
    Quintic{2.3465413258596377, -1.7097828382687081, 0.42323551169305323}};

/// What the norm is taken larger by, so that rounding brings no singular value above what the
/// polynomials bear.
double safety(Iteration iteration) { return iteration == Iteration::kPolarExpress ? 1.02 : 1; }

/// Added to the norm: a gradient of zeros moves nothing.
constexpr double kEpsilon = 1e-7;

/// The longest side of a tile, in rows and, of products with X, in columns. Small ones spare more
/// of symmetric products, and large ones pack their operands more rarely: for matrices of 256 and
/// 768 rows, sides from 128 to 384 measured alike within 5 %.
constexpr std::size_t kTileRows = 192, kTileColumns = 768;
/// Sides of tiles are multiples of it, but for the last one's.
constexpr std::size_t kTileMultiple = 16;
/// Elements that are copied or added up at a time.
constexpr std::size_t kBlock = std::size_t{1} << 15;
/// Of a wave, for each thread: enough that few wait at the end of a phase.
constexpr std::size_t kTilesPerThread = 3;
/// With so many matrices for each thread, they are taken whole; with fewer where they fit into the
/// second level of the cache, where that measured a tenth faster.
constexpr std::size_t kMatricesPerThread = 8, kSmallPerThread = 2;
constexpr std::size_t kSmallFloats = std::size_t{1} << 18;

/// A length, cut into parts as even as multiples allow.
struct Cut {
  Cut(std::size_t whole, std::size_t longest) : size(whole) {
    const std::size_t parts = (size + longest - 1) / longest;
    const std::size_t even = (size + parts - 1) / parts;
    part = (even + kTileMultiple - 1) / kTileMultiple * kTileMultiple;
  }
  std::size_t count() const { return (size + part - 1) / part; }
  std::size_t begin(std::size_t i) const { return i * part; }
  std::size_t length(std::size_t i) const { return std::min(part, size - begin(i)); }

  std::size_t size, part;
};

bool is_tall(const MatrixView& matrix) { return matrix.rows > matrix.columns; }
std::size_t smaller(const MatrixView& matrix) { return std::min(matrix.rows, matrix.columns); }
std::size_t larger(const MatrixView& matrix) { return std::max(matrix.rows, matrix.columns); }

Cut rows_of(const MatrixView& matrix) { return {smaller(matrix), kTileRows}; }
Cut columns_of(const MatrixView& matrix) { return {larger(matrix), kTileColumns}; }
/// Rows of the matrix as it stands that are copied at a time.
Cut blocks_of(const MatrixView& matrix) {
  return {matrix.rows, std::max(kBlock / matrix.columns, std::size_t{1})};
}

std::size_t lower_tiles(const MatrixView& matrix) {
  const std::size_t tiles = rows_of(matrix).count();
  return tiles * (tiles + 1) / 2;
}

/// Row and column of the `task`th tile on or below the diagonal, row by row.
struct LowerTile {
  explicit LowerTile(std::size_t task) {
    while ((row + 1) * (row + 2) / 2 <= task) ++row;
    column = task - row * (row + 1) / 2;
  }
  std::size_t row = 0, column = 0;
};

/// To a multiple of a cache line.
std::size_t aligned(std::size_t floats) { return (floats + 15) / 16 * 16; }

/// Floats that hold a double for each block.
std::size_t norm_floats(const MatrixView& matrix) { return aligned(2 * blocks_of(matrix).count()); }

/// Whether the iteration leaves X alone, which is fewer FLOP from there on: of five iterations,
/// with r = n / m, (17 + 3 r) m³ for (5 + 15 r) m³.
bool leaves_x(const MatrixView& matrix) { return 4 * larger(matrix) > 5 * smaller(matrix); }

/// Floats that a job works in.
std::size_t work_of(const MatrixView& matrix) {
  const std::size_t m = smaller(matrix), squares = leaves_x(matrix) ? 4 : 2;
  return norm_floats(matrix) + aligned(matrix.size()) + squares * aligned(m * m);
}

/// to (columns, rows) = factor fromᵀ; from (rows, columns), by squares that stay in the cache.
void transpose(const float* from, std::size_t rows, std::size_t columns, std::size_t from_stride,
               float factor, float* to, std::size_t to_stride) {
  constexpr std::size_t kSquare = 32;
  for (std::size_t row = 0; row < rows; row += kSquare) {
    for (std::size_t column = 0; column < columns; column += kSquare) {
      for (std::size_t c = column; c < std::min(column + kSquare, columns); ++c) {
        for (std::size_t r = row; r < std::min(row + kSquare, rows); ++r) {
          to[c * to_stride + r] = factor * from[r * from_stride + c];
        }
      }
    }
  }
}

/// Copies the tile of a symmetric matrix (size, size) to its place above the diagonal.
void mirror(float* matrix, const Cut& cut, const LowerTile& tile) {
  const std::size_t first_row = cut.begin(tile.row), first_column = cut.begin(tile.column);
  const std::size_t rows = cut.length(tile.row), columns = cut.length(tile.column);
  if (tile.row != tile.column) {
    return transpose(matrix + first_row * cut.size + first_column, rows, columns, cut.size, 1.0f,
                     matrix + first_column * cut.size + first_row, cut.size);
  }
  float* const corner = matrix + first_row * cut.size + first_column;
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t column = row + 1; column < columns; ++column) {
      corner[row * cut.size + column] = corner[column * cut.size + row];
    }
  }
}

/// Whether X lies beside the matrix' own values after so many products. A tall matrix begins there,
/// transposed.
bool is_beside(const MatrixView& matrix, int products) {
  return is_tall(matrix) == (products % 2 == 0);
}

bool takes_whole(const std::vector<MatrixView>& call, Orthogonaliser::Sharing sharing,
                 int threads) {
  if (sharing != Orthogonaliser::Sharing::kAuto) {
    return sharing == Orthogonaliser::Sharing::kWhole;
  }
  const auto is_small = [](const MatrixView& matrix) { return matrix.size() <= kSmallFloats; };
  const std::size_t for_each = call.size() / static_cast<std::size_t>(threads);
  return for_each >= kMatricesPerThread ||
         (for_each >= kSmallPerThread && std::ranges::all_of(call, is_small));
}

}  // namespace

Quintic quintic_of(Iteration iteration, int index) {
  if (iteration == Iteration::kNewtonSchulz) return kNewtonSchulz;
  return kPolarExpress[std::min(static_cast<std::size_t>(index), kPolarExpress.size() - 1)];
}

double Orthogonaliser::flops(std::size_t rows, std::size_t columns, int iterations) {
  const auto m = static_cast<double>(std::min(rows, columns));
  const auto n = static_cast<double>(std::max(rows, columns));
  if (leaves_x({nullptr, rows, columns})) return 3 * n * m * m + (4 * iterations - 3) * m * m * m;
  return iterations * (3 * n * m * m + m * m * m);
}

std::vector<Orthogonaliser::Wave> Orthogonaliser::waves_of(const std::vector<MatrixView>& call,
                                                           Sharing sharing, int threads) {
  std::vector<Wave> waves;
  if (takes_whole(call, sharing, threads)) return waves;
  const std::size_t enough = kTilesPerThread * static_cast<std::size_t>(threads);
  for (std::size_t begin = 0; begin < call.size();) {
    std::size_t end = begin;
    for (std::size_t tiles = 0; end < call.size() && tiles < enough; ++end) {
      tiles += lower_tiles(call[end]);
    }
    waves.push_back({begin, end});
    begin = end;
  }
  return waves;
}

std::size_t Orthogonaliser::work_floats(const std::vector<std::vector<MatrixView>>& calls,
                                        Sharing sharing, int threads) {
  std::size_t most = 0;
  for (const std::vector<MatrixView>& call : calls) {
    for (const Wave& wave : waves_of(call, sharing, threads)) {
      std::size_t sum = 0;
      for (std::size_t i = wave.begin; i < wave.end; ++i) sum += work_of(call[i]);
      most = std::max(most, sum);
    }
    if (!takes_whole(call, sharing, threads)) continue;
    for (const MatrixView& matrix : call) {
      most = std::max(most, work_of(matrix) * static_cast<std::size_t>(threads));
    }
  }
  return most;
}

std::size_t Orthogonaliser::bytes_for(const std::vector<std::vector<MatrixView>>& calls,
                                      Sharing sharing, int threads) {
  return work_floats(calls, sharing, threads) * sizeof(float);
}

Orthogonaliser::Orthogonaliser(std::vector<std::vector<MatrixView>> calls, const Options& options,
                               const kernels::Kernels& kernels, ThreadPool& pool)
    : calls_(std::move(calls)),
      options_(options),
      kernels_(kernels),
      pool_(pool),
      work_(work_floats(calls_, options.sharing, pool.size())) {
  if (options.iterations < 1 || options.iterations > kMostIterations) {
    fail("{} iterations of Muon's polynomial: give 1 to {}", options.iterations, kMostIterations);
  }
  std::size_t most = 0;
  for (const std::vector<MatrixView>& call : calls_) {
    waves_.push_back(waves_of(call, options.sharing, pool.size()));
    for (const Wave& wave : waves_.back()) most = std::max(most, wave.end - wave.begin);
    if (!waves_.back().empty()) continue;
    for (const MatrixView& matrix : call) thread_work_ = std::max(thread_work_, work_of(matrix));
  }
  jobs_.reserve(most);
  first_.reserve(most + 1);
}

void Orthogonaliser::run(std::size_t call) {
  if (waves_[call].empty()) return run_whole(calls_[call]);
  for (const Wave& wave : waves_[call]) run_wave(calls_[call], wave);
}

void Orthogonaliser::run_whole(const std::vector<MatrixView>& matrices) {
  pool_.deal(matrices.size(), [&](std::size_t i, std::size_t thread) {
    const Span span(pool_.recorders()[thread], Activity::kOrthogonalise);
    const Job job = job_at(matrices[i], work_.data() + thread * thread_work_);
    for (int phase = 0; phase < phases(); ++phase) {
      const std::size_t count = tasks(job.matrix, phase);
      for (std::size_t task = 0; task < count; ++task) take(job, phase, task);
    }
  });
}

void Orthogonaliser::run_wave(const std::vector<MatrixView>& matrices, const Wave& wave) {
  jobs_.clear();
  float* work = work_.data();
  for (std::size_t i = wave.begin; i < wave.end; ++i) {
    jobs_.push_back(job_at(matrices[i], work));
    work += work_of(matrices[i]);
  }
  for (int phase = 0; phase < phases(); ++phase) {
    first_.assign(1, 0);
    for (const Job& job : jobs_) first_.push_back(first_.back() + tasks(job.matrix, phase));
    pool_.deal(first_.back(), [&](std::size_t i, std::size_t thread) {
      const Span span(pool_.recorders()[thread], Activity::kOrthogonalise);
      const auto job =
          static_cast<std::size_t>(std::ranges::upper_bound(first_, i) - first_.begin()) - 1;
      take(jobs_[job], phase, i - first_[job]);
    });
  }
}

Orthogonaliser::Job Orthogonaliser::job_at(const MatrixView& matrix, float* work) {
  const std::size_t square = aligned(smaller(matrix) * smaller(matrix));
  Job job{matrix, nullptr, work + norm_floats(matrix), {}, reinterpret_cast<double*>(work)};
  float* place = job.gram + square;
  for (std::size_t i = 0; i < (leaves_x(matrix) ? 3u : 1u); ++i, place += square) {
    job.squares[i] = place;
  }
  job.other = place;
  return job;
}

/// The phases: norms, X₀; then four stages of each iteration; and two for the way back.
std::size_t Orthogonaliser::tasks(const MatrixView& matrix, int phase) const {
  const int iterated = phase - 2, last = options_.iterations - 1;
  if (iterated < 0) return blocks_of(matrix).count();
  const std::size_t all = rows_of(matrix).count() * columns_of(matrix).count();
  const int iteration = iterated / 4, stage = iterated % 4;
  if (iteration <= last) {
    if (stage < 2) return lower_tiles(matrix);
    if (!leaves_x(matrix)) return stage == 2 ? all : 0;
    if (stage == 2) return iteration == 0 ? 0 : lower_tiles(matrix);
    return iteration == last ? all : lower_tiles(matrix);
  }
  const bool beside = is_beside(matrix, leaves_x(matrix) ? 1 : options_.iterations);
  const bool is_first = stage == 0;
  // A tall matrix has to be transposed, and so to lie beside; another one to be copied from there.
  const bool moves = is_tall(matrix) ? !is_first || !beside : is_first && beside;
  return moves ? blocks_of(matrix).count() : 0;
}

void Orthogonaliser::take(const Job& job, int phase, std::size_t task) const {
  const Cut blocks = blocks_of(job.matrix);
  const int iterated = phase - 2, iteration = iterated / 4, stage = iterated % 4;
  if (phase == 0) {
    job.norms[task] =
        kernels_.sum_of_squares(job.matrix.values + blocks.begin(task) * job.matrix.columns,
                                blocks.length(task) * job.matrix.columns);
  } else if (phase == 1) {
    start(job, task);
  } else if (iteration == options_.iterations) {
    finish(job, stage, task);
  } else if (leaves_x(job.matrix)) {
    iterate_beside(job, iteration, stage, task);
  } else {
    iterate(job, iteration, stage, task);
  }
}

/// A, B, and X ← B X.
void Orthogonaliser::iterate(const Job& job, int iteration, int stage, std::size_t task) const {
  const bool beside = is_beside(job.matrix, iteration);
  const float* const x = beside ? job.other : job.matrix.values;
  float* const y = beside ? job.matrix.values : job.other;
  const Quintic quintic = quintic_of(options_.iteration, iteration);
  if (stage == 0) make_gram(job, x, task);
  if (stage == 1) make_polynomial(job, quintic, job.squares[0], task);
  if (stage == 2) multiply(job, job.squares[0], x, y, task);
}

/// A (the first from X₀, later ones (B A) B of the iteration before), B, P ← B P, and B A; in the
/// end P X₀. B, P and B A take turns: B A lies where the P before did, which nobody needs any more.
void Orthogonaliser::iterate_beside(const Job& job, int iteration, int stage,
                                    std::size_t task) const {
  const bool beside = is_beside(job.matrix, 0);
  const float* const x = beside ? job.other : job.matrix.values;
  const auto p_of = [&](int i) { return job.squares[2 * i % 3]; };
  const auto b_of = [&](int i) { return i == 0 ? p_of(0) : job.squares[(2 * i - 1) % 3]; };
  const auto ba_of = [&](int i) { return i == 0 ? job.squares[1] : p_of(i - 1); };
  float* const b = b_of(iteration);
  if (stage == 0 && iteration == 0) make_gram(job, x, task);
  if (stage == 0 && iteration > 0) {
    multiply_symmetric(job, ba_of(iteration - 1), b_of(iteration - 1), job.gram, task);
  }
  if (stage == 1) make_polynomial(job, quintic_of(options_.iteration, iteration), b, task);
  if (stage == 2) multiply_symmetric(job, b, p_of(iteration - 1), p_of(iteration), task);
  if (stage == 3 && iteration + 1 < options_.iterations) {
    multiply_symmetric(job, b, job.gram, ba_of(iteration), task);
  } else if (stage == 3) {
    multiply(job, p_of(iteration), x, beside ? job.matrix.values : job.other, task);
  }
}

void Orthogonaliser::start(const Job& job, std::size_t task) const {
  const Cut blocks = blocks_of(job.matrix);
  const double squares = std::accumulate(job.norms, job.norms + blocks.count(), 0.0);
  const auto factor =
      static_cast<float>(1 / (std::sqrt(squares) * safety(options_.iteration) + kEpsilon));
  const std::size_t row = blocks.begin(task), rows = blocks.length(task);
  const std::size_t columns = job.matrix.columns;
  float* const values = job.matrix.values + row * columns;
  if (is_tall(job.matrix)) {
    return transpose(values, rows, columns, columns, factor, job.other + row, job.matrix.rows);
  }
  for (std::size_t i = 0; i < rows * columns; ++i) values[i] *= factor;
}

void Orthogonaliser::make_gram(const Job& job, const float* x, std::size_t task) const {
  const Cut rows = rows_of(job.matrix);
  const LowerTile tile(task);
  const std::size_t n = larger(job.matrix), m = rows.size;
  kernels::sgemm(Transpose::kNo, Transpose::kYes, rows.length(tile.row), rows.length(tile.column),
                 n, 1.0f, x + rows.begin(tile.row) * n, n, x + rows.begin(tile.column) * n, n, 0.0f,
                 job.gram + rows.begin(tile.row) * m + rows.begin(tile.column), m);
  mirror(job.gram, rows, tile);
}

void Orthogonaliser::make_polynomial(const Job& job, const Quintic& quintic, float* square,
                                     std::size_t task) const {
  const Cut rows = rows_of(job.matrix);
  const LowerTile tile(task);
  const std::size_t m = rows.size, row = rows.begin(tile.row), column = rows.begin(tile.column);
  const std::size_t height = rows.length(tile.row), width = rows.length(tile.column);
  float* const corner = square + row * m + column;
  for (std::size_t r = 0; r < height; ++r) {
    std::copy_n(job.gram + (row + r) * m + column, width, corner + r * m);
  }
  kernels::sgemm(Transpose::kNo, Transpose::kNo, height, width, m, static_cast<float>(quintic.c),
                 job.gram + row * m, m, job.gram + column, m, static_cast<float>(quintic.b), corner,
                 m);
  if (row == column) {
    for (std::size_t i = 0; i < height; ++i) corner[i * m + i] += static_cast<float>(quintic.a);
  }
  mirror(square, rows, tile);
}

void Orthogonaliser::multiply_symmetric(const Job& job, const float* left, const float* right,
                                        float* product, std::size_t task) const {
  const Cut rows = rows_of(job.matrix);
  const LowerTile tile(task);
  const std::size_t m = rows.size, row = rows.begin(tile.row), column = rows.begin(tile.column);
  kernels::sgemm(Transpose::kNo, Transpose::kNo, rows.length(tile.row), rows.length(tile.column), m,
                 1.0f, left + row * m, m, right + column, m, 0.0f, product + row * m + column, m);
  mirror(product, rows, tile);
}

void Orthogonaliser::multiply(const Job& job, const float* square, const float* x, float* y,
                              std::size_t task) const {
  const Cut rows = rows_of(job.matrix), columns = columns_of(job.matrix);
  const std::size_t m = rows.size, n = columns.size;
  const std::size_t row = task % rows.count(), column = task / rows.count();
  kernels::sgemm(Transpose::kNo, Transpose::kNo, rows.length(row), columns.length(column), m, 1.0f,
                 square + rows.begin(row) * m, m, x + columns.begin(column), n, 0.0f,
                 y + rows.begin(row) * n + columns.begin(column), n);
}

/// Brings the result to where the matrix was, as it stood there: first beside if it is tall, so
/// that it can be transposed back; then to its place.
void Orthogonaliser::finish(const Job& job, int phase, std::size_t task) const {
  const Cut blocks = blocks_of(job.matrix);
  const std::size_t row = blocks.begin(task), rows = blocks.length(task);
  const std::size_t columns = job.matrix.columns, at = row * columns;
  if (!is_tall(job.matrix)) {
    std::copy_n(job.other + at, rows * columns, job.matrix.values + at);
  } else if (phase == 0) {
    std::copy_n(job.matrix.values + at, rows * columns, job.other + at);
  } else {
    // Some of its columns, which are rows of the matrix.
    transpose(job.other + row, columns, rows, job.matrix.rows, 1.0f, job.matrix.values + at,
              columns);
  }
}

}  // namespace cllm::train
