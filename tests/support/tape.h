#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "support/functions.h"
#include "support/matrix.h"

/// Reverse-mode differentiation of what is computed with whole matrices: the operations of matrix.h
/// and functions.h once more, on matrices that remember where they come from. Each one's way back
/// stands beside it; tape_test.cc proves it by the complex step.
namespace cllm::support {

template <typename T>
class Tape;

/// A matrix on a tape, which must outlive it.
template <typename T>
struct Taped {
  Tape<T>* tape;
  std::size_t node;

  const Matrix<T>& value() const { return tape->value(*this); }
  /// Adds to the gradient by this matrix.
  void add(const Matrix<T>& gradient) const { tape->add(*this, gradient); }
};

/// What was computed, in order. `sweep` goes back through it once.
template <typename T>
class Tape {
 public:
  /// From the gradient by the result to what it adds to that by each argument.
  using Backward = std::function<void(const Matrix<T>& d)>;

  Taped<T> leaf(Matrix<T> value) { return record(std::move(value), nullptr); }
  Taped<T> record(Matrix<T> value, Backward backward) {
    nodes_.push_back({std::move(value), {}, std::move(backward)});
    return {this, nodes_.size() - 1};
  }

  /// The gradients of `result`, a matrix of one element, by all that it was computed of.
  void sweep(const Taped<T>& result) {
    Matrix<T> one(1, 1);
    one(0, 0) = T(1);
    add(result, one);
    for (std::size_t i = result.node + 1; i-- > 0;) {
      const Node& node = nodes_[i];
      if (node.backward && !node.gradient.values.empty()) node.backward(node.gradient);
    }
  }

  const Matrix<T>& value(const Taped<T>& of) const { return nodes_[of.node].value; }
  /// Zeros where the result doesn't depend on it.
  Matrix<T> gradient(const Taped<T>& by) const {
    const Node& node = nodes_[by.node];
    return node.gradient.values.empty() ? Matrix<T>(node.value.rows, node.value.columns)
                                        : node.gradient;
  }
  void add(const Taped<T>& to, const Matrix<T>& gradient) {
    Matrix<T>& total = nodes_[to.node].gradient;
    total = total.values.empty() ? gradient : sum(std::move(total), gradient);
  }

 private:
  struct Node {
    Matrix<T> value, gradient;
    Backward backward;
  };
  std::deque<Node> nodes_;  // references stay valid
};

template <typename T>
Taped<T> product(const Taped<T>& a, const Taped<T>& b) {
  return a.tape->record(product(a.value(), b.value()), [a, b](const Matrix<T>& d) {
    a.add(product_transposed(d, b.value()));
    b.add(product(transposed(a.value()), d));
  });
}

template <typename T>
Taped<T> product_transposed(const Taped<T>& a, const Taped<T>& b) {
  return a.tape->record(product_transposed(a.value(), b.value()), [a, b](const Matrix<T>& d) {
    a.add(product(d, b.value()));
    b.add(product(transposed(d), a.value()));
  });
}

template <typename T>
Taped<T> sum(const Taped<T>& a, const Taped<T>& b) {
  return a.tape->record(sum(a.value(), b.value()), [a, b](const Matrix<T>& d) {
    a.add(d);
    b.add(d);
  });
}

template <typename T>
Taped<T> times(const Taped<T>& a, const Taped<T>& b) {
  return a.tape->record(times(a.value(), b.value()), [a, b](const Matrix<T>& d) {
    a.add(times(d, b.value()));
    b.add(times(d, a.value()));
  });
}

template <typename T>
Taped<T> scaled(const Taped<T>& a, double factor) {
  return a.tape->record(scaled(a.value(), factor),
                        [a, factor](const Matrix<T>& d) { a.add(scaled(d, factor)); });
}

template <typename T>
Taped<T> plus_row(const Taped<T>& a, const Taped<T>& v) {
  return a.tape->record(plus_row(a.value(), v.value()), [a, v](const Matrix<T>& d) {
    a.add(d);
    v.add(row_sum(d));
  });
}

template <typename T>
Taped<T> times_row(const Taped<T>& a, const Taped<T>& v) {
  return a.tape->record(times_row(a.value(), v.value()), [a, v](const Matrix<T>& d) {
    a.add(times_row(d, v.value()));
    v.add(row_sum(times(d, a.value())));
  });
}

template <typename T>
Taped<T> rows_of(const Taped<T>& table, const std::vector<std::size_t>& rows) {
  return table.tape->record(rows_of(table.value(), rows), [table, rows](const Matrix<T>& d) {
    Matrix<T> dtable(table.value().rows, d.columns);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      for (std::size_t j = 0; j < d.columns; ++j) dtable(rows[i], j) += d(i, j);
    }
    table.add(dtable);
  });
}

template <typename T>
Taped<T> block_of(const Taped<T>& a, const Block& block) {
  return a.tape->record(block_of(a.value(), block), [a, block](const Matrix<T>& d) {
    Matrix<T> da(a.value().rows, a.value().columns);
    add_block(da, block, d);
    a.add(da);
  });
}

template <typename T>
Taped<T> assembled(const std::vector<std::pair<Block, Taped<T>>>& blocks, std::size_t rows,
                   std::size_t columns) {
  Matrix<T> y(rows, columns);
  for (const auto& [block, a] : blocks) add_block(y, block, a.value());
  return blocks.front().second.tape->record(std::move(y), [blocks](const Matrix<T>& d) {
    for (const auto& [block, a] : blocks) a.add(block_of(d, block));
  });
}

/// y = tanh x: dx = dy (1 − y²)
template <typename T>
Taped<T> tanh_of(const Taped<T>& x) {
  const Matrix<T> y = tanh_of(x.value());
  return x.tape->record(y, [x, y](const Matrix<T>& d) {
    x.add(times(d, mapped(y, [](const T& a) { return T(1) - a * a; })));
  });
}

/// y = logistic x: dx = dy y (1 − y)
template <typename T>
Taped<T> logistic(const Taped<T>& x) {
  const Matrix<T> y = logistic(x.value());
  return x.tape->record(y, [x, y](const Matrix<T>& d) {
    x.add(times(d, mapped(y, [](const T& a) { return a * (T(1) - a); })));
  });
}

template <typename T>
Taped<T> positive_part(const Taped<T>& x) {
  return x.tape->record(positive_part(x.value()), [x](const Matrix<T>& d) {
    x.add(times(d, mapped(x.value(), [](const T& a) { return std::real(a) > 0 ? T(1) : T(0); })));
  });
}

/// dx = dy − mean(dy)
template <typename T>
Taped<T> centred(const Taped<T>& x) {
  return x.tape->record(centred(x.value()), [x](const Matrix<T>& d) { x.add(centred(d)); });
}

/// With s = √(mean x² + ε) and y = x / s: dx = (dy − y mean(dy·y)) / s
template <typename T>
Taped<T> rms_normalised(const Taped<T>& x, double epsilon) {
  const Matrix<T> y = rms_normalised(x.value(), epsilon);
  return x.tape->record(y, [x, y, epsilon](const Matrix<T>& d) {
    Matrix<T> dx(d.rows, d.columns);
    for (std::size_t n = 0; n < d.rows; ++n) {
      T mean{};
      for (std::size_t i = 0; i < d.columns; ++i) {
        mean += d(n, i) * y(n, i) / T(static_cast<double>(d.columns));
      }
      const T root = root_of_squares(x.value(), n, epsilon);
      for (std::size_t i = 0; i < d.columns; ++i) dx(n, i) = (d(n, i) - y(n, i) * mean) / root;
    }
    x.add(dx);
  });
}

/// A rotation's transpose is the rotation back.
template <typename T>
Taped<T> rotated(const Taped<T>& x, double theta, int direction) {
  return x.tape->record(
      rotated(x.value(), theta, direction),
      [x, theta, direction](const Matrix<T>& d) { x.add(rotated(d, theta, -direction)); });
}

/// With p a row of the result: ds = p (dp − Σ p dp)
template <typename T>
Taped<T> causal_softmax(const Taped<T>& scores) {
  const Matrix<T> p = causal_softmax(scores.value());
  return scores.tape->record(p, [scores, p](const Matrix<T>& d) {
    Matrix<T> ds(d.rows, d.columns);
    for (std::size_t t = 0; t < d.rows; ++t) {
      T expected{};
      for (std::size_t u = 0; u <= t; ++u) expected += p(t, u) * d(t, u);
      for (std::size_t u = 0; u <= t; ++u) ds(t, u) = p(t, u) * (d(t, u) - expected);
    }
    scores.add(ds);
  });
}

/// dlogits = (softmax(logits) − onehot(target)) / N
template <typename T>
Taped<T> cross_entropy(const Taped<T>& logits, std::span<const std::uint32_t> targets) {
  return logits.tape->record(
      cross_entropy(logits.value(), targets), [logits, targets](const Matrix<T>& d) {
        const Matrix<T>& z = logits.value();
        Matrix<T> dz(z.rows, z.columns);
        for (std::size_t n = 0; n < z.rows; ++n) {
          const std::vector<T> p = softmax(std::span(&z(n, 0), z.columns)).first;
          for (std::size_t v = 0; v < z.columns; ++v) {
            const T expected = v == targets[n] ? T(1) : T(0);
            dz(n, v) = d(0, 0) * (p[v] - expected) / T(static_cast<double>(z.rows));
          }
        }
        logits.add(dz);
      });
}

}  // namespace cllm::support
