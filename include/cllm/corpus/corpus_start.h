#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "cllm/base/thread_pool.h"
#include "cllm/corpus/corpus_vectors.h"
#include "cllm/corpus/rare_tokens.h"
#include "cllm/corpus/signatures.h"
#include "cllm/lattice/certificates/certificate.h"

namespace cllm::corpus {

/// How a token embedding starts from what the corpus says of its tokens.
struct CorpusStart {
  /// Codes of a factorised embedding are expressed in an LLL-reduced basis of the lattice that
  /// their second moment shapes; else in the orthonormal basis that `model::initialize` drew.
  bool lattice = true;
  /// Tokens that the corpus has fewer times start as the mean of their relatives by prime
  /// signatures; 0: as their own statistics say.
  std::uint64_t rare_below = 0;
};

/// A band of the embedding that is to be filled, as `model::initialize` drew it.
struct BandPlace {
  std::size_t rows;         ///< of the embedding, behind those of the bands before
  std::span<float> tokens;  ///< (rows, C), or the codes (rows, r) of a factorised one
  std::span<float> basis;   ///< (r, C) of a factorised one, orthonormal; else empty

  std::size_t width() const { return tokens.size() / rows; }
};

/// All of it.
struct EmbeddingPlace {
  std::vector<BandPlace> bands;
  std::span<const std::uint32_t> token_rows;  ///< (V): the row of each token; empty: its number
  double deviation;                           ///< that elements of the widest rows are to have
};

/// What came of it.
struct StartedEmbedding {
  /// By bands: of those whose codes are expressed in one.
  std::map<std::size_t, lattice::Certificate> lattices;
  RareTokens rare;
};

/// Note [Corpus start]. A token's vector x is its row of `CorpusVectors`, in the eigenspace of the
/// corpus. A dense table is these, scaled to GPT-2's deviation of 0.02; a reduced one has codes Z
/// and basis B with Z B = x Q, Q the orthonormal basis, at the same deviation. Of bands of
/// frequency each row has as many of the leading numbers of its token's vector as it has room for,
/// all at one scale.
///
/// In the lattice's case, let M = sum p(t) x xᵀ over the band's tokens t of frequency p(t): the
/// second moment of the model's inputs. Its Cholesky factor, M = L Lᵀ, makes x L⁻ᵀ white, so the
/// rows of Lᵀ are the basis in which all coordinates of inputs are alike; LLL (U, unimodular) keeps
/// the lattice that they generate and makes its basis short and nearly orthogonal: A = U Lᵀ, scaled
/// to rows of mean square 1, Z = x A⁻¹, B = A Q.

/// Fills the embedding. `vectors`, as wide as its widest rows, is used up. `signatures`: of the
/// vocabulary; null where pieces are unknown: no token then gets its row from relatives.
/// Deterministic for any number of threads on processors of one kind. Throws Error where the
/// lattice cannot be reduced.
StartedEmbedding start_from_corpus(CorpusVectors& vectors, const Signatures* signatures,
                                   const CorpusStart& options, ThreadPool& pool,
                                   const EmbeddingPlace& embedding);

}  // namespace cllm::corpus
