#include "cllm/lattice/certificates/certificate_code.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "cllm/base/random.h"
#include "cllm/lattice/reduce.h"
#include "lattice/examples.h"
#include "support/error_of.h"

namespace cllm::lattice {
namespace {

using support::error_of;
using testing::HasSubstr;

/// For 24 and 24 and 10 columns.
std::vector<Certificate> examples() {
  std::vector<Certificate> certificates;
  for (const std::size_t n : {24U, 24U, 10U}) {
    certificates.push_back(reduce_cholesky(covariance_factor(n, 0.7, certificates.size()), n, 10));
  }
  return certificates;
}

TEST(CertificateCode, WhatHoldsIsProvedAgain) {
  EXPECT_NO_THROW(check_certificates(encode_certificates(examples()), 58));
}

TEST(CertificateCode, WhatDoesNotHoldIsRefused) {
  const auto expect_refused = [](const auto& spoil) {
    std::vector<Certificate> certificates = examples();
    spoil(certificates[1]);
    EXPECT_THAT(error_of([&] { check_certificates(encode_certificates(certificates), 58); }),
                HasSubstr("columns 24 to 47"));
  };
  // Another lattice: one row of the transform doubled.
  expect_refused([](Certificate& c) {
    for (std::int64_t& value : c.transform.row(5)) value *= 2;
  });
  // No lattice of 24 dimensions.
  expect_refused([](Certificate& c) {
    for (std::int64_t& value : c.transform.row(5)) value = 0;
  });
  // The same lattice, not reduced.
  expect_refused([](Certificate& c) { c.transform = IntegerMatrix::identity(24); });
  expect_refused([](Certificate& c) {
    for (std::size_t j = 0; j < 24; ++j) c.transform(7, j) += 3 * c.transform(2, j);
  });
  // The basis that was reduced is another.
  expect_refused([](Certificate& c) { c.before(0, 0) *= 50; });
}

TEST(CertificateCode, OtherBytesAreRefused) {
  const std::string bytes = encode_certificates(examples());
  for (std::size_t size = 0; size < bytes.size(); size += 1 + bytes.size() / 40) {
    EXPECT_NE(error_of([&] { check_certificates(bytes.substr(0, size), 58); }), "");
  }
  EXPECT_NE(error_of([&] { check_certificates(bytes + '\1', 58); }), "");
  EXPECT_NE(error_of([&] { check_certificates(bytes, 57); }), "");
  EXPECT_NE(error_of([&] { check_certificates(std::string("\xff\xff\xff\xff", 4), 58); }), "");
  RandomStream random(1, 0);
  // A bit at the end of a code may mean nothing; any other changes an integer.
  int refused = 0;
  for (int round = 0; round < 100; ++round) {
    std::string spoiled = bytes;
    spoiled[random.below(bytes.size())] ^= static_cast<char>(1 + random.below(255));
    try {
      check_certificates(spoiled, 58);
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GE(refused, 95);
}

}  // namespace
}  // namespace cllm::lattice
